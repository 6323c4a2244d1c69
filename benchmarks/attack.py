"""Attack the command line, evenly over every family of attacks, and write the docs' table.

Usage: python benchmarks/attack.py [--minutes N] [--seed S] [--row NAME ...] [--again NAME NUMBER]. Without --minutes
it plays every variation of every row once. Without --again it writes benchmarks/results/attack.json and
docs/attack.md, with --row the others as they were stored. Every command runs in a temporary folder; no attack
writes outside of it.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from page_text import escaped, generated, table
from stored_results import heading, store

ROOT = Path(__file__).parent.parent
RESULTS, PAGE = ROOT / "benchmarks/results/attack.json", ROOT / "docs/attack.md"
sys.path.insert(0, str(ROOT / "tests"))

from attacks import ROWS, Row, Trial, play  # noqa: E402  it takes from tests/, which is not installed
from interruptible import take_signals  # noqa: E402

BEFORE: dict[str, Any] = json.loads((Path(__file__).parent / "attacks/held_before.json").read_text())
LONGEST = 400  # of a text in the page
PREPARED = ("deploy", "se", "--shape", "2x16x8x8", "-o", "prepared")


def drawn(rows: dict[str, Row], seed: int, *, once: bool) -> Iterator[tuple[Row, int]]:
    """Draw one attack from each row, in an order of its own each round; ``once``: until each variation had its turn."""
    for number in itertools.count():
        names = [name for name, row in rows.items() if not once or number < len(row.variations)]
        if not names:
            return
        random.Random(f"{seed} {number}").shuffle(names)
        yield from ((rows[name], number) for name in names)


def attack(rows: dict[str, Row], seed: int, seconds: float | None, show: Callable[[Trial], None]) -> list[Trial]:
    """Play the drawn attacks, until ``seconds`` have passed."""
    trials: list[Trial] = []
    with tempfile.TemporaryDirectory(prefix="attack-") as folder:
        prepared = prepare(Path(folder))
        began = time.monotonic()
        for row, number in drawn(rows, seed, once=seconds is None):
            if seconds is not None and time.monotonic() - began > seconds:
                break
            trials.append(play(row, number, seed, prepared, Path(folder)))
            show(trials[-1])
    return trials


def prepare(folder: Path) -> Path:
    """Deploy the bundle that attacks copy; with a plan if TensorRT for RTX is here."""
    command = [sys.executable, "-m", "attn2trt", *PREPARED]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / ".typing")}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"attn2trt {' '.join(PREPARED)} ended with {done.returncode}: {done.stderr.strip()}")
    return folder / "prepared"


def summary(trials: list[Trial], seed: int, minutes: float | None) -> dict[str, Any]:
    """The results' document: a row for each family, with what did not hold."""
    rows = []
    for name, before in BEFORE["rows"].items():
        of_row = [trial for trial in trials if trial.row == name]
        played = [trial for trial in of_row if not trial.not_run]
        reasons = {trial.not_run for trial in of_row if trial.not_run}
        rows.append(
            {
                "row": name,
                "attack": before["attack"],
                "before": {key: before[key] for key in ("tried", "held", "commit") if key in before},
                "tried": len(played),
                "held": sum(trial.held for trial in played),
                "variations": len({trial.variation for trial in played}),
                "not_run": sorted(reasons or ({"it was not drawn"} if not of_row else set())),
                "failures": [asdict(trial) for trial in played if not trial.held],
            }
        )
    return heading("torch", "onnx", "onnxruntime-gpu") | {
        "seed": seed,
        "minutes": minutes,
        "commit_before": BEFORE["commit"],
        "rows": rows,
    }


def beside_stored(document: dict[str, Any], names: Sequence[str]) -> dict[str, Any]:
    """Return the stored results, with the rows of these names out of a run that played them alone."""
    stored = json.loads(RESULTS.read_text())
    alone = {key: document[key] for key in ("date", "seed", "minutes")}
    played = {row["row"]: {**row, "alone": alone} for row in document["rows"] if row["row"] in names}
    kept = {row["row"]: row for row in stored["rows"]}
    return {**stored, "rows": [played.get(row["row"]) or kept.get(row["row"]) or row for row in document["rows"]]}


def _command(run: dict[str, Any], row: str = "") -> str:
    minutes = f" --minutes {run['minutes']:g}" if run["minutes"] else ""
    only = f" --row '{row}'" if row else ""
    return f"python benchmarks/attack.py{minutes}{only} --seed {run['seed']}"


def _of_their_own(rows: list[dict[str, Any]]) -> list[str]:
    """Return a line for each row that another run played, or whose attacks were tried before on another commit."""
    lines = []
    for row in rows:
        if "commit" in row["before"]:
            lines.append(f"*Before*, of {row['row']}, is the same attacks on commit {row['before']['commit']}.")
        if "alone" in row:
            lines.append(f"{row['row']}: `{_command(row['alone'], row['row'])}` on {row['alone']['date']}.")
    return [" ".join(lines), ""] if lines else []


def page(document: dict[str, Any]) -> str:
    """The docs page."""
    rows = document["rows"]
    lines = [
        "# Attacks",
        "",
        generated(_command(document), document),
        "",
        "Each row is a family of attacks on the command line, drawn evenly. An attack holds if every criterion does:",
        "",
        "- a documented exit code that fits, one line for an error, no traceback",
        "- no half bundle, the old bundle whole, nothing left behind, nothing of the user's touched",
        "- every change of a file detected, no code of a file run, no wrong module passed",
        "",
        f"*Before* is a search by hand on commit {document['commit_before']}, with attacks of the same families.",
        "",
        *_of_their_own(rows),
        f"- tried {sum(row['tried'] for row in rows)}, held {sum(row['held'] for row in rows)}",
        f"- before: tried {sum(row['before']['tried'] for row in rows)}, held "
        f"{sum(row['before']['held'] for row in rows)}",
        "",
        *table("row | attack | tried before | held before | tried now | held now | not run", map(_cells, rows)),
        "",
        "## What did not hold",
        "",
    ]
    failures = [(row.get("alone", document)["seed"], failure) for row in rows for failure in row["failures"]]
    if not failures:
        lines.append("Nothing.")
    for seed, failure in failures:
        again = f"`python benchmarks/attack.py --seed {seed} --again '{failure['row']}' {failure['number']}`"
        lines += [f"- {failure['row']}, {escaped(failure['variation'])[:LONGEST]}: {again}"]
        lines += [f"  - {escaped(broken)[:LONGEST]}" for broken in failure["broken"]]
    return "\n".join(lines) + "\n"


def _cells(row: dict[str, Any]) -> list[object]:
    tried_and_held = (found[key] for found in (row["before"], row) for key in ("tried", "held"))
    return [row["row"], row["attack"], *tried_and_held, escaped("; ".join(row["not_run"]))[:LONGEST]]


def show(trial: Trial) -> None:
    """Print one attack; its steps if it did not hold."""
    result = f"not run: {trial.not_run}" if trial.not_run else "held" if trial.held else "NOT HELD"
    print(f"{trial.row} #{trial.number} ({trial.variation}): {result}", flush=True)
    for line in trial.broken:
        print(f"    broken: {line!r}", flush=True)
    for line in trial.steps if trial.broken else ():
        print(f"    $ {line!r}", flush=True)


def main() -> int:
    """Attack as the options say; exit code 1 if something did not hold."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, help="draw for so long (default: each variation once)")
    parser.add_argument("--seed", type=int, default=0, help="of the drawing and of every attack")
    parser.add_argument("--row", action="append", choices=[*ROWS], help="only this row, beside the stored ones")
    parser.add_argument("--again", nargs=2, metavar=("ROW", "NUMBER"), help="one attack of a run with this seed")
    options = parser.parse_args()
    take_signals()
    if options.again:
        with tempfile.TemporaryDirectory(prefix="attack-") as folder:
            name, number = options.again
            trial = play(ROWS[name], int(number), options.seed, prepare(Path(folder)), Path(folder))
        show(trial)
        return 1 if trial.broken else 0
    rows = {name: ROWS[name] for name in options.row or ROWS}
    trials = attack(rows, options.seed, None if options.minutes is None else options.minutes * 60, show)
    document = summary(trials, options.seed, options.minutes)
    written = beside_stored(document, options.row) if options.row else document
    store(written, RESULTS, PAGE, page(written))
    return 1 if any(row["failures"] for row in document["rows"]) else 0


if __name__ == "__main__":
    sys.exit(main())
