"""Deploy every situation of benchmarks/situations as a user would, compare with what must come of it; write the page.

Usage: python benchmarks/field.py [--only NAME ...] [--resume] [--jobs N]. Each deploy is a command of its own, in a
temporary folder. A graph that passes is compared with eager PyTorch too (outcomes.py), at sizes that were not traced.
Without --only it writes benchmarks/results/field.json and docs/field.md after every situation; --resume keeps the rows
that are there and as expected. Exit code 1 if anything is not as expected.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from outcomes import Outcome, compare, shorten
from page_text import escaped, generated, table, whole_words
from situations import SITUATIONS, Deploy, Situation
from stored_results import heading, side_by_side, store

ROOT = Path(__file__).parent.parent
RESULTS, PAGE = ROOT / "benchmarks/results/field.json", ROOT / "docs/field.md"
BEFORE = "0cd25e4"
# of a line in the page
LONGEST = 420
PASSED, REFUSED = 0, 2


@dataclass(frozen=True)
class Result:
    """The outcome of a command: its exit code, the line that says it, and all that it printed or recorded."""

    exit_code: int
    line: str
    text: str
    compared: Outcome | None = None

    def is_expected(self, deploy: Deploy) -> bool:
        """Return True if the command did what it must, and a graph that passed is right at every size compared."""
        is_right = self.compared is None or self.compared.result == "right"
        return deploy.now.holds(self.exit_code, self.text) and is_right


def run(situation: Situation, deploy: Deploy) -> Result:
    """Deploy once, in a folder of its own."""
    with tempfile.TemporaryDirectory(prefix="field-") as folder:
        words = [situation.target, *shlex.split(deploy.options), "-o", "bundle"]
        paths = os.pathsep.join([str(ROOT / ".typing"), str(ROOT / "benchmarks")])
        done = subprocess.run(
            [sys.executable, "-m", "attn2trt", "deploy", *words],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": paths},
            capture_output=True,
            text=True,
            check=False,
        )
        return result(situation, done.returncode, done.stdout, done.stderr, Path(folder) / "bundle")


def result(situation: Situation, exit_code: int, stdout: str, stderr: str, bundle: Path) -> Result:
    """Read what a command printed and wrote."""
    from attn2trt.core.bundle import open_bundle
    from attn2trt.validate.verdict import Verdict

    line = _line(stdout, stderr)
    if exit_code == REFUSED or not bundle.is_dir():
        return Result(exit_code, line, line)
    found = open_bundle(bundle)
    verdict = Verdict.from_json(found.manifest["verdict"])
    why = "; ".join(f"{stage.label}: {stage.why}" for stage in verdict.objections)
    line = f"{line}: {why}" if why else line
    if exit_code != PASSED:
        return Result(exit_code, line, line)
    from attn2trt.modules.catalog import build

    compared = compare(found.model_path, build(situation.target), found.inputs, found.axes, is_claimed=True)
    return Result(exit_code, line, stdout, compared)


def _line(stdout: str, stderr: str) -> str:
    """The line that tells the end: an error's, else the verdict's, up to what is not checked on every machine."""
    errors = [line for line in stderr.splitlines() if re.match(r"(internal )?error: ", line)]
    verdicts = [
        line.partition("; not checked: ")[0]
        for line in stdout.splitlines()
        if re.match("PASSED|FAILED|NOT CHECKED", line)
    ]
    last = [line for line in (stderr or stdout).splitlines() if line.strip()]
    return (errors or verdicts or last or ["nothing was printed"])[-1]


def measure(situation: Situation) -> dict[str, Any]:
    """The row of a situation, with what came of each of its deploys."""
    since = time.perf_counter()
    deploys = []
    for deploy in situation.deploys:
        found = run(situation, deploy)
        compared = found.compared
        deploys.append(
            {
                "options": deploy.options,
                "exit_code": found.exit_code,
                "line": shorten(found.line),
                "as_expected": found.is_expected(deploy),
                **({} if compared is None else {"compared": compared.to_json()}),
            }
        )
    return {"situation": situation.name, "deploys": deploys, "seconds": round(time.perf_counter() - since, 1)}


def is_kept(row: dict[str, Any]) -> bool:
    """Return True if a stored row is of the situation as it is now, and was as expected."""
    situation = SITUATIONS.get(row["situation"])
    pairs = [(deploy.options, deploy.now.exit_code) for deploy in situation.deploys] if situation else []
    same = pairs == [(deploy["options"], deploy["exit_code"]) for deploy in row["deploys"]]
    return same and all(deploy["as_expected"] for deploy in row["deploys"])


def page(document: dict[str, Any]) -> str:
    """The docs page."""
    rows = [(SITUATIONS[row["situation"]], row) for row in document["rows"]]
    pairs = [
        (situation, deploy, found)
        for situation, row in rows
        for deploy, found in zip(situation.deploys, row["deploys"], strict=True)
    ]
    expected = sum(found["as_expected"] for _, _, found in pairs)
    passed = [found for _, _, found in pairs if found["exit_code"] == PASSED]
    lines = [
        "# Reports from the field",
        "",
        generated("python benchmarks/field.py", document),
        "",
        f"{len(rows)} situations, most of them reported publicly of some exporter, each rebuilt as a small module in",
        "`benchmarks/situations/` and deployed by the command line. *Before* is what the same situation came to at",
        f"commit {BEFORE}; nothing if it was not tried then. *Now* is the exit code; the line that the command",
        "ends with stands there if something is not as it must be. Each graph that passed was compared with eager",
        "PyTorch in float64 too, at the ends of its ranges and at random sizes inside.",
        "",
        f"- deploys: {len(pairs)}, as they must be: {expected}",
        f"- passed: {len(passed)}, of these right at every size compared: "
        f"{sum(found['compared']['result'] == 'right' for found in passed)}",
        f"- refused with exit code 2: {sum(found['exit_code'] == REFUSED for _, _, found in pairs)}",
        f"- failed verdicts: {sum(found['exit_code'] == 1 for _, _, found in pairs)}",
        "",
        *table("situation | reports | options | before | now", (_cells(*pair) for pair in pairs)),
        "",
        "## What does not pass, and what to do instead",
        "",
        "*Why* is the command's own line. *Instead* is its last part, if that says what to do.",
        "",
        *table("situation | why | instead", (_refusal(*pair) for pair in pairs if pair[2]["exit_code"] != PASSED)),
    ]
    return "\n".join(lines) + "\n"


def _cells(situation: Situation, deploy: Deploy, found: dict[str, Any]) -> tuple[str, ...]:
    first = deploy is situation.deploys[0]
    title = f"{situation.title} (`{situation.name}`)" if first else ""
    links = " ".join(f"[{_name(link)}]({link})" for link in situation.links) if first else ""
    return title, links, f"`{deploy.options}`", deploy.before or "-", _now(found)


def _refusal(situation: Situation, deploy: Deploy, found: dict[str, Any]) -> tuple[str, ...]:
    """Return what is refused or fails, why, and what to do instead, each from the line that a user reads."""
    why, instead = found["line"].removeprefix("error: "), deploy.now.instead
    if not instead:
        why, _, instead = why.rpartition("; ")
    return situation.title, _short(why), _short(instead)


def _now(found: dict[str, Any]) -> str:
    if found["as_expected"] and found["exit_code"] != PASSED:
        return f"{found['exit_code']}, below"
    compared = found.get("compared")
    if found["as_expected"] and compared and compared["result"] == "right":
        return f"0, right; sizes: {compared['sizes']}"
    wrong = f" **{compared['result']}**: {compared['why']}." if compared and compared["result"] != "right" else ""
    unexpected = "" if found["as_expected"] else "**not as it must be** "
    return f"{unexpected}{found['exit_code']}: {_short(found['line'])}.{wrong}"


def _short(text: str) -> str:
    return whole_words(escaped(text), LONGEST)


def _name(link: str) -> str:
    """``owner/repository#number`` of a link to a thread."""
    match = re.fullmatch(r"https://github\.com/([^/]+/[^/]+)/(?:issues|pull)/(\d+)", link)
    return f"{match[1].rpartition('/')[2]}#{match[2]}" if match else link


def main(names: Sequence[str], *, resume: bool, jobs: int) -> int:
    """Deploy every situation, or those that are named; exit code 1 if something is not as it must be."""
    stored = json.loads(RESULTS.read_text())["rows"] if resume and RESULTS.exists() else []
    rows = {row["situation"]: row for row in stored if is_kept(row)} if not names else {}
    document = heading("torch", "onnx", "onnxscript", "onnxruntime-gpu", "onnxsim")
    left = [name for name in names or SITUATIONS if name not in rows]
    for row in side_by_side(measure, [(SITUATIONS[name],) for name in left], jobs):
        rows[row["situation"]] = row
        show(row)
        document["rows"] = [rows[name] for name in SITUATIONS if name in rows]
        if not names:
            store(document, RESULTS, PAGE, page(document))
    if not names:
        document["rows"] = [rows[name] for name in SITUATIONS]
        store(document, RESULTS, PAGE, page(document))
    return 0 if all(deploy["as_expected"] for row in rows.values() for deploy in row["deploys"]) else 1


def show(row: dict[str, Any]) -> None:
    """Print what came of a situation."""
    for deploy in row["deploys"]:
        unexpected = "" if deploy["as_expected"] else "NOT AS IT MUST BE: "
        compared = deploy.get("compared", {}).get("result", "")
        said = f"{unexpected}{deploy['exit_code']} {deploy['line']}"
        print(row["situation"], deploy["options"], said, compared, sep=" | ", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=[*SITUATIONS], default=[], metavar="NAME", help="not written")
    parser.add_argument("--resume", action="store_true", help="keep the stored rows that are as expected")
    parser.add_argument("--jobs", type=int, default=1, help="situations at a time")
    options = parser.parse_args()
    sys.exit(main(options.only, resume=options.resume, jobs=options.jobs))
