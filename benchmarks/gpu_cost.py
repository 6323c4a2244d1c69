"""Measure on a GPU what the plans of many bundles cost, layer by layer, and write the page of it.

python benchmarks/gpu_cost.py FOLDER ... --out OUT --seconds N  the bundles in FOLDER; needs a GPU, but no PyTorch
python benchmarks/gpu_cost.py --out OUT --page [--note TEXT] [--benchmark FILE ...]   the page of what OUT holds

Every plan of every bundle is a row, at the largest batch that it takes: blocks first, then networks, each beside its
plain backbone if FOLDER has that too. A row is a document of `attn2trt cost`, written the moment that it is known,
with its table beside it; run again, rows that are there are left. After N seconds no further row begins. The page goes
to docs/gpu_cost.md, its numbers to benchmarks/results/gpu_cost.json, with what `attn2trt benchmark -o FILE` has found
of PyTorch on the same GPU, if it is given.

Exit code 0: every plan was measured; 1: some were not; 2: wrong arguments, or no plan; 3: no GPU or no TensorRT; 4:
reading or writing failed; 130: interrupted.
"""

from __future__ import annotations

import argparse
import io
import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, NamedTuple

import gpu_cost_page
from gpu.cached_plans import adopted
from gpu.rows import write_json
from gpu_check import start
from rich.console import Console

from attn2trt.core.bundle import Bundle, open_bundle
from attn2trt.core.scratch import scratch
from attn2trt.engines.environment import ask_driver
from attn2trt.engines.tensorrt.plans import Plan, plans_of
from attn2trt.engines.timing.device_costs import DeviceCost
from attn2trt.engines.timing.runtimes import MODULES
from attn2trt.errors import Attn2trtError, InputError, MissingRequirement
from attn2trt.modules.grammar import parse
from attn2trt.report.device_cost_table import device_cost_table
from attn2trt.workflows.cost_plan import cost_plan
from attn2trt.workflows.plan_bench import METHOD

# half of a benchmark's turn of thousands of calls
QUICK = replace(METHOD, seconds=0.3, max_seconds=1.5, iterations=48)


class Work(NamedTuple):
    """A plan to measure: its bundle, and the bundle of the plain backbone if there is one."""

    bundle: Bundle
    plan: Plan
    backbone: Bundle | None

    @property
    def name(self) -> str:
        """Return the name of the row."""
        return f"{self.bundle.path.name}-{self.plan.precision}{'-tuned' * self.plan.tuned}"

    @property
    def shapes(self) -> list[str]:
        """Return the inputs at the largest batch of the plan's first profile and the optimum of every other axis."""
        axes = self.plan.profiles[0].axes
        sizes = {name: axis.max if name == "batch" else axis.opt for name, axis in axes.items()}
        specs = self.bundle.inputs_of(self.plan.precision)
        return [f"{spec.name}={'x'.join(map(str, spec.resolve(sizes)))}" for spec in specs]


def work_in(folders: Sequence[Path], only: Sequence[str], caches: Sequence[Path], copies: Path) -> list[Work]:
    """Return the plans of the bundles in the folders, those of the first pattern first; of one, blocks first.

    Plans in ``caches`` are put into copies of their bundles, in ``copies``.
    """
    bundles = [one for folder in folders for one in _readable(folder)]
    bundles += adopted(caches, bundles, copies)
    found = [Work(one, plan, _backbone(one, plan, bundles)) for one in bundles for plan in plans_of(one)]
    found.sort(key=lambda work: (work.backbone is not None, "+" in work.bundle.name))
    if not only:
        return found
    return list({work.name: work for pattern in only for work in found if fnmatchcase(work.name, pattern)}.values())


def _readable(folder: Path) -> Iterator[Bundle]:
    """Yield the bundles in a folder; of one that cannot be read a line is printed."""
    for path in sorted(folder.glob("*/bundle.json")):
        try:
            bundle = open_bundle(path.parent)
            plans_of(bundle)
        except InputError as error:
            print(f"{path.parent.name}: {error}", flush=True)
        else:
            yield bundle


def _backbone(bundle: Bundle, plan: Plan, bundles: Sequence[Bundle]) -> Bundle | None:
    """Return the bundle of the plain backbone that has a plan of the precision, for a network with blocks."""
    try:
        parsed = parse(bundle.name)
    except InputError:
        return None
    if not parsed.insertions:
        return None
    wanted = (plan.flavour, plan.precision)
    return next(
        (
            one
            for one in bundles
            if one.name == parsed.base.without_places
            and one.io(plan.precision) == bundle.io(plan.precision)
            and wanted in {(other.flavour, other.precision) for other in plans_of(one)}
        ),
        None,
    )


def measure(found: Sequence[Work], out: Path, seconds: float) -> int:
    """Measure the rows that are missing; returns the exit code."""
    if not found:
        raise InputError("received bundles without such a plan; expected one; run attn2trt compile, or correct --only")
    driver = ask_driver()
    if driver.problem:
        raise MissingRequirement(f"{driver.problem}; run on a machine with an NVIDIA GPU and its driver")
    until, failed = time.monotonic() + seconds, 0
    for work in found:
        if (out / f"{work.name}.json").is_file():
            continue
        if time.monotonic() >= until:
            print(f"{work.name}: no time was left", flush=True)
            failed += 1
            continue
        failed += not _row(work, out)
    return int(failed > 0)


def _row(work: Work, out: Path) -> bool:
    """Measure one plan and write what was found; returns False, with a line, if it could not be."""
    since = time.monotonic()
    try:
        cost = cost_plan(
            work.bundle,
            precision=work.plan.precision,
            backbone=work.backbone,
            shapes=work.shapes,
            flavour=work.plan.flavour,
            tuned=work.plan.tuned,
            method=QUICK,
        )
    except Attn2trtError as error:
        print(f"{work.name}: {error}", flush=True)
        return False
    write_json(out / f"{work.name}.json", {**cost.to_json(), "command": "attn2trt cost", "row": work.name})
    (out / f"{work.name}.txt").write_text(_table(cost), encoding="utf-8")
    print(f"{work.name}: {cost.model.ms:.4f} ms, measured in {time.monotonic() - since:.0f} s", flush=True)
    return True


def _table(cost: DeviceCost) -> str:
    text = io.StringIO()
    Console(file=text, width=200).print(device_cost_table(cost))
    return text.getvalue()


def collect(out: Path, note: str, benchmarks: Sequence[Path] = ()) -> dict[str, Any]:
    """Return the rows of a folder without what is the machine's own, and PyTorch's times of these benchmarks.

    Raises InputError if there is no row, or a file is no document of a benchmark.
    """
    rows = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(out.glob("*.json"))]
    if not rows:
        raise InputError(f"received --out {out}, which holds no row; expected one; measure first")
    left_out = {"machine", "bundle", "versions", "conditions", "command"}
    kept = [{key: value for key, value in row.items() if key not in left_out} for row in rows]
    return {"note": note, "rows": kept, "pytorch": [entry for file in benchmarks for entry in _pytorch(file)]}


def _pytorch(file: Path) -> Iterator[dict[str, Any]]:
    """PyTorch's rows on the GPU in a document of `attn2trt benchmark`."""
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
        gpus = found["machine"]["gpus"]
        inputs = {batch["batch"]: batch["inputs"] for batch in found["batches"]}
        measured = [row for row in found["rows"] if row["measurement"] and row["runtime"] in MODULES]
        for row in measured:
            measurement = row["measurement"]
            yield {
                "target": found["target"],
                "gpu": gpus[0] if gpus else "",
                "inputs": inputs[row["batch"]],
                "runtime": measurement["runtime"],
                "on_device": measurement["on_device"],
            }
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"received --benchmark {file}, which cannot be read ({error!r}); expected what attn2trt benchmark -o wrote"
        ) from None


def main(arguments: argparse.Namespace) -> int:
    """Do what the arguments ask for; returns the exit code."""
    if arguments.page:
        found = collect(arguments.out, arguments.note, arguments.benchmark)
        write_json(gpu_cost_page.RESULTS, found)
        gpu_cost_page.PAGE.write_text(gpu_cost_page.page(found), encoding="utf-8")
        return 0
    there = [folder for folder in arguments.folders if folder.is_dir()]
    for folder in arguments.folders:
        if folder not in there:
            print(f"{folder}: no such folder", flush=True)
    if not there:
        raise InputError(f"received {len(arguments.folders)} folders, none of which is there; expected one of bundles")
    with scratch("gpu-cost") as copies:
        found = work_in(there, arguments.only, arguments.cache, copies)
        return measure(found, arguments.out, arguments.seconds)


def parse_words() -> argparse.Namespace:
    """Read the command line; exit code 2 for what is wrong in it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", type=Path, nargs="*", metavar="FOLDER", help="of bundles")
    parser.add_argument("--out", type=Path, required=True, metavar="OUT", help="the folder of the rows")
    parser.add_argument("--seconds", type=float, default=600.0, metavar="N", help="begin no row after so long")
    parser.add_argument("--cache", type=Path, action="append", default=[], metavar="DIR", help="plans of searches, too")
    parser.add_argument("--only", action="append", default=[], metavar="PATTERN", help="rows, as 'se-*'; repeat it")
    parser.add_argument("--page", action="store_true", help="write results and page of the rows")
    parser.add_argument("--note", default="", metavar="TEXT", help="a sentence for the page")
    parser.add_argument(
        "--benchmark", type=Path, action="append", default=[], metavar="FILE", help="PyTorch's times for the page"
    )
    return parser.parse_args()


if __name__ == "__main__":
    start(lambda: main(parse_words()))
