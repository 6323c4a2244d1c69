"""Measure ``--precision auto`` for a few targets under several budgets: its choice and its cost, in docs/auto.md.

Usage: python benchmarks/precision_search.py [TARGET ...]. Each row is one deploy, with photographs beside the seeded
cases. Writes benchmarks/results/precision_search.json and docs/auto.md; with TARGETs it prints their rows and writes
nothing. Takes about six minutes.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

from bare_path import described
from catalogue import photographs
from page_text import generated, table
from stored_results import store

from attn2trt.core.precision import FP32, LOWER, TRIED
from attn2trt.validate.case_values import STRESS_KINDS
from attn2trt.validate.sensitivity import MOST_CASES
from attn2trt.validate.verdict import Verdict
from attn2trt.workflows.deploy import deploy
from attn2trt.workflows.options import AUTO, Judging
from attn2trt.workflows.precision_search import SHOWN, Tried

ROOT = Path(__file__).parent.parent
RESULTS, PAGE = ROOT / "benchmarks/results/precision_search.json", ROOT / "docs/auto.md"
IMAGE, BLOCK = ("2x3x96x96", "batch=1:2:3"), ("2x64x28x28", "batch=1:2:4")
TARGETS = {
    **dict.fromkeys(("resnet18+cbam", "mobilenetv2_050+coord_att"), IMAGE),
    "psa": BLOCK,
}
# the budgets of the precisions themselves, then tighter ones for all
ALLOWED = (None, 1e-2, 2e-3)
# of a deploy's seconds, those that only a precision takes
PARTS = ("calibration", "precision")
OWN = ", ".join(f"{name} {LOWER[name].budget:g}" for name in TRIED)


def row(target: str, allowed: float | None, folder: Path, images: Path) -> dict[str, Any]:
    """One deploy with ``auto``: what was chosen, what it loses, and the seconds of its parts."""
    shape, axes = TARGETS[target]
    since = time.perf_counter()
    bundle = deploy(
        target,
        shapes=[shape],
        dynamic=axes,
        precision=AUTO,
        judging=Judging(max_error=allowed, inputs=images if shape == IMAGE[0] else None),
        out=folder / target,
        force=True,
    )
    seconds = time.perf_counter() - since
    search = bundle.manifest["precision_search"]
    verdict = Verdict.from_json(bundle.manifest["verdict"])
    kinds = {case["name"]: case["kind"] for case in bundle.manifest["cases"]}
    lost = [
        found.error
        for stage in verdict.stages
        if stage.stage.precision == search["chosen"] != FP32
        for case, found in stage.comparisons
        if kinds.get(case) not in STRESS_KINDS
    ]
    entry = bundle.manifest.get("precisions", {}).get(search["chosen"], {})
    return {
        "target": target,
        "allowed": allowed,
        "passed": bool(verdict),
        **search,
        "keep_fp32": entry.get("keep_fp32", []),
        "lost": max(lost, default=None),
        # of the same run, so that it says the same of a machine that does other work
        "search_share": sum(bundle.manifest["seconds"].get(part, 0.0) for part in PARTS) / seconds,
    }


def measured(targets: list[str]) -> Iterator[dict[str, Any]]:
    """Every row, printed as it is there."""
    with tempfile.TemporaryDirectory() as name:
        images = Path(name) / "images"
        images.mkdir()
        photographs(images)
        for target in targets:
            for allowed in ALLOWED:
                found = row(target, allowed, Path(name), images)
                print(*cells(found), *tried(found), sep="\n", flush=True)
                yield found


def cells(found: dict[str, Any]) -> tuple[str, ...]:
    """Return one row of the table."""
    allowed = "their own" if found["allowed"] is None else f"{found['allowed']:g}"
    lost = "-" if found["lost"] is None else f"{found['lost']:.2g}"
    paths = found["keep_fp32"]
    more = f" and {len(paths) - SHOWN} more" if len(paths) > SHOWN else ""
    kept = ", ".join(f"`{path}`" for path in paths[:SHOWN]) + more or "-"
    return f"`{found['target']}`", allowed, found["chosen"], kept, lost, f"{found['search_share']:.0%}"


def tried(found: dict[str, Any]) -> list[str]:
    """Return what was tried for a row, a line each."""
    return [str(Tried(entry["precision"], tuple(entry["kept"]), entry["said"])) for entry in found["tried"]]


def page(document: dict[str, Any]) -> str:
    """The docs page."""
    share = f"{LOWER['int8'].most_in_float32:.0%}"
    return f"""# Choosing a precision

```sh
attn2trt deploy resnet50+cbam --pretrained --precision auto --calibrate photographs --inputs photographs
```

tries {", ".join(TRIED)} in this order and takes the first whose verdict passes, with as few modules in
float32 as that takes; float32 alone if none does. `--max-error` sets one budget for all of them, else
each has its own ({OWN}).

1. The precision is written into the graph, and what it loses is measured in PyTorch as the verdict's floor
   is, on the {MOST_CASES} smallest cases with ordinary values or photographs.
2. If that is above the budget, each module computes in the precision alone, all others in float32. Those
   that lose most stay in float32, and bisection finds the smallest number of them that keeps the budget, in
   this order. A module that stays takes all inside it along.
3. int8 gives way if more than {share} of the operations would be in float32. Half precision then takes less
   time by the peak rates of tensor cores, four times that of tf32 for int8 and twice for half precision.
   That is arithmetic, not a measurement.
4. The whole verdict decides, on every case. If it fails by the budget, by an overflow, by the best class or by
   a channel that loses its variation, one more module stays in float32, then two more, then four. After such
   a channel alone, they are those in which it loses most. If the verdict fails beyond the floors, something
   other than precision is wrong, and the next one is tried.

The summary and the manifest (`precision_search`) list what was tried. `--keep-fp32` holds here as well, for
every precision. Which precision is fastest on a GPU was not measured: the order is that of the bits.

{measured_section(document)}"""


def measured_section(document: dict[str, Any]) -> str:
    """The table, and what was tried for the row that took most."""
    rows = document["rows"]
    longest = max(rows, key=lambda found: len(found["tried"]))
    allowed = f" with `--max-error {longest['allowed']:g}`" if longest["allowed"] is not None else ""
    lines = "\n".join(table("target | budget | chosen | in float32 | loses | search", map(cells, rows)))
    attempts = "\n".join(tried(longest))
    return f"""## Measured

{generated("python benchmarks/precision_search.py", document)}
Random weights. *loses* is the largest relative L2 error of a stage of that precision on ordinary values and
photographs. *search* is what calibrating, measuring and writing take of the time of the whole deploy.

{lines}

What was tried for `{longest["target"]}`{allowed}:

```
{attempts}
```
"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("targets", nargs="*", metavar="TARGET", help="only these, not written")
    chosen = parser.parse_args().targets
    if unknown := [target for target in chosen if target not in TARGETS]:
        parser.error(f"received {unknown[0]!r}; expected some of {', '.join(TARGETS)}")
    rows = list(measured(chosen or list(TARGETS)))
    if not chosen:
        document = {"date": date.today().isoformat(), **described(), "rows": rows}
        store(document, RESULTS, PAGE, page(document))
    return 0 if all(found["passed"] for found in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
