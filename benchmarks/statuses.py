"""Count the statuses of verdicts over blocks and networks that are installed here, now and at an earlier commit.

Usage: python benchmarks/statuses.py [--before CHECKOUT] [--jobs N] [TARGET ...]. Each target is deployed by the command
line at its traced size, on random weights; a graph whose verdict failed is compared with eager PyTorch (outcomes.py),
and is a false alarm if it is right. CHECKOUT is a folder with the earlier version's package, as of commit 0cd25e4.
Without TARGETs it writes benchmarks/results/statuses.json and docs/statuses.md after every row, and keeps the rows of
the same code that are there. What the earlier version came to is kept too: its rows stay, noted as of an earlier run,
until they are measured again.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from catalogue import ROOMS
from code_hash import code_hash
from outcomes import compare, shorten, status_of
from page_text import generated, table
from stored_results import heading, of_earlier_runs, rows_before, side_by_side, store

from attn2trt.core.bundle import open_bundle
from attn2trt.modules.block_index import block_names
from attn2trt.modules.catalog import build
from attn2trt.validate.verdict import BUILT, FAILED, STATUSES

ROOT = Path(__file__).parent.parent
RESULTS, PAGE = ROOT / "benchmarks/results/statuses.json", ROOT / "docs/statuses.md"
SMALL = "--shape 2x3x64x64"
# light networks of timm and torchvision, and a deep one with blocks whose random weights were chaotic
TARGETS = {
    **dict.fromkeys(block_names(), ""),
    **dict.fromkeys(("resnet18+se", "mobilenetv2_050+coord_att", "efficientnet_b0"), SMALL),
    **dict.fromkeys(("py:torchvision.models:shufflenet_v2_x0_5", "py:torchvision.models:squeezenet1_1"), SMALL),
}
REFUSED, ALARM, NOTHING = "refused", "false alarm", "-"


def measure(target: str, options: str, code: Path, *, is_now: bool) -> dict[str, Any]:
    """The status of one target, deployed with the package in ``code``."""
    more = ["--dynamic", "none", "--for", "none"] if is_now else []  # it kept the traced sizes, and built no plans
    words = ["deploy", target, *shlex.split(options), *more, "--json", "-o", "bundle"]
    with tempfile.TemporaryDirectory(prefix="statuses-") as folder:
        done = subprocess.run(
            [sys.executable, "-m", "attn2trt", *words],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": str(code), "OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
            check=False,
        )
        try:
            stages = json.loads(done.stdout)["verdict"]["stages"]
        except (json.JSONDecodeError, KeyError):
            last = (done.stderr.strip().splitlines() or ["nothing was printed"])[-1]
            return {"status": REFUSED, "why": shorten(last), "exit_code": done.returncode}
        status = status_of(stages)
        row = {"status": status, "why": why(stages, status), "exit_code": done.returncode}
        if status == FAILED and is_now:
            bundle = open_bundle(Path(folder) / "bundle")
            found = compare(bundle.model_path, build(target), bundle.inputs, bundle.axes, is_claimed=True)
            row["alarm"] = found.result == "right"
        return row


def why(stages: Sequence[dict[str, Any]], status: str) -> str:
    """The reason that the first stage of this status gives."""
    return next((shorten(stage["why"]) for stage in stages if stage["status"] == status and stage["why"]), "")


def page(document: dict[str, Any]) -> str:
    """The docs page."""
    rows = document["rows"]
    counts = {when: Counter(row[when]["status"] for row in rows if row.get(when)) for when in ("before", "now")}
    statuses = (*(status for status in STATUSES if status not in (BUILT, REFUSED)), REFUSED)
    lines = [
        "# Statuses",
        "",
        generated("python benchmarks/statuses.py", document),
        "",
        f"The status of the whole verdict of {len(rows)} of {len(TARGETS)} targets: blocks alone, networks of timm",
        "and of torchvision, at the traced size, on random weights. *Before* is an earlier version of the code, on the",
        f"same machine, of {sum('before' in row for row in rows)} of them.",
        "A *false alarm* is a verdict that failed over a graph that agrees with eager PyTorch.",
        *of_earlier_runs(rows),
        "",
        *table(
            "status | before | now",
            [
                *((status, counts["before"][status], counts["now"][status]) for status in statuses),
                (ALARM, NOTHING, sum(row["now"].get("alarm", False) for row in rows)),
            ],
        ),
        "",
        *table("target | before | now | why", map(_cells, rows)),
    ]
    return "\n".join(lines) + "\n"


def _cells(row: dict[str, Any]) -> tuple[str, ...]:
    before = row["before"]["status"] if row.get("before") else NOTHING
    return f"`{row['target']}`", before, row["now"]["status"], row["now"]["why"][:240] or NOTHING


def both(target: str, options: str, before: Path | None) -> dict[str, Any]:
    """A row."""
    row = {"target": target, "options": options, "now": measure(target, options, ROOT / ".typing", is_now=True)}
    return row if before is None else row | {"before": measure(target, options, before, is_now=False)}


def main(names: Sequence[str], *, before: Path | None, jobs: int) -> int:
    """Measure; exit code 1 if there is a false alarm."""
    document: dict[str, Any] = heading("torch", "timm", "onnx", "onnxruntime-gpu", "onnxsim") | {
        "sources": code_hash(ROOMS),
        "rows": [],
    }
    stored = [] if names else rows_before(RESULTS, document, lambda row: "before" in row)
    earlier = {row["target"]: {"before": row["before"]} for row in stored if "before" in row}
    rows = {row["target"]: row for row in stored}  # those of earlier code until they are measured: "before" is in them
    done = {row["target"] for row in stored if "measured" not in row and (before is None or "before" in row)}
    left = [name for name in names or TARGETS if name not in done]
    for measured in side_by_side(both, [(name, TARGETS.get(name, ""), before) for name in left], jobs):
        row = earlier.get(measured["target"], {}) | measured
        rows[row["target"]] = row
        found = [f"{when} {row[when]['status']} {row[when]['why']}" for when in ("before", "now") if when in row]
        print(row["target"], *found, sep=" | ", flush=True)
        document["rows"] = [rows[name] for name in TARGETS if name in rows]
        if not names:
            store(document, RESULTS, PAGE, page(document))
    return 1 if any(row["now"].get("alarm") for row in rows.values()) else 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="TARGET", help="only these, printed and not written")
    parser.add_argument("--before", type=Path, metavar="CHECKOUT", help="a folder that holds the package attn2trt")
    parser.add_argument("--jobs", type=int, default=1, help="targets at a time (default: 1)")
    options = parser.parse_args()
    sys.exit(main(options.names, before=options.before and options.before.absolute(), jobs=options.jobs))
