"""Tune blocks and networks for TensorRT on a machine with a GPU: plans of candidates built, timed alone, and combined.

python benchmarks/gpu_tune.py FOLDER --export                 with a Python that has PyTorch: FOLDER/bundles
python benchmarks/gpu_tune.py FOLDER --minutes N [--wait]     with a Python that has TensorRT

Run again it goes on: bundles and plans that are there are taken as they are. Each row is written the moment that it is
known, into FOLDER/rows. Exit code 0: a row was written; 1: none was; 3: no GPU or no TensorRT.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from gpu.alone import alone

from attn2trt.core.bundle import open_bundle
from attn2trt.engines.tensorrt.build import BuildOptions
from attn2trt.engines.tensorrt.flavours import TENSORRT
from attn2trt.engines.tensorrt.here import why_no_flavour
from attn2trt.engines.tensorrt.plans import layers_name
from attn2trt.engines.tensorrt.versions import TACTICS
from attn2trt.engines.timing.method import Method
from attn2trt.errors import Attn2trtError, MissingRequirement
from attn2trt.workflows.plan_cache import PlanCache
from attn2trt.workflows.plan_search import PlanSearch
from attn2trt.workflows.tune_plans import BundleGraphs, TuneRequest, covered_case, recipe_of, sizes_of

# The case's target, shape, largest batch and the batch that is timed, the most wanted first.
CASES = {
    **{f"{name}-256x56x56": (name, "2x256x56x56", 32, 32) for name in ("se", "cbam", "coord_att")},
    **{name: (name, "", 8, 8) for name in ("resnet50+se", "resnet50")},
}
METHOD = Method(
    seconds=0.12, iterations=12, max_seconds=1.0, rounds=12, warm_up_seconds=0.05, settle_seconds=0.002,
    pause_seconds=0.002, hot_share=0.0,
)  # fmt: skip
MOST = 12
# the time that the combinations of a wave may take to build
COMBINE_SECONDS = 60


def deploy(folder: Path) -> int:
    """Export every case, three beside each other."""
    (folder / "bundles").mkdir(parents=True, exist_ok=True)

    def one(name: str) -> int:
        target, shape, largest, _ = CASES[name]
        out = folder / "bundles" / name
        words = ["deploy", target, "--dynamic", f"batch=1:2:{largest}", "--precision", "fp32,fp16", "--io", "fp16"]
        command = [sys.executable, "-m", "attn2trt", *words, "--for", "none", "--out", str(out)]
        if (out / "bundle.json").exists():
            return 0
        with (folder / f"export-{name}.log").open("wb") as log:
            ran = subprocess.run(
                [*command, *(["--shape", shape] if shape else [])], stdout=log, stderr=log, check=False
            )
        print(f"export {name}: exit code {ran.returncode}", flush=True)
        return ran.returncode

    with ThreadPoolExecutor(3) as pool:
        return max(pool.map(one, CASES))


def search_of(folder: Path, name: str, arguments: argparse.Namespace, stack: ExitStack) -> PlanSearch:
    """Return the search of a case, whose bundle is waited for."""
    path, deadline = folder / "bundles" / name, arguments.deadline
    while not (path / "bundle.json").exists() and time.monotonic() < deadline:
        time.sleep(1)
    bundle = open_bundle(path)
    options = BuildOptions(level=arguments.level, without_tactics=tuple(arguments.without_tactics))
    recipe = recipe_of(
        bundle, TuneRequest(precision="fp16", profile=f"batch={CASES[name][3]}", options=options), TENSORRT
    )
    cache = stack.enter_context(PlanCache(folder / "plans" / name, recipe, jobs=arguments.jobs, deadline=deadline))
    arguments.caches[name] = cache
    return PlanSearch(
        recipe, BundleGraphs(bundle, "fp16"), cache, sizes=sizes_of(recipe), case=covered_case(recipe),
        name="model.fp16.tensorrt.onnx", method=METHOD, progress=lambda text: print(f"{name}: {text}", flush=True),
        most=MOST, build_seconds=arguments.build_seconds, jobs=8,
    )  # fmt: skip


def write(folder: Path, name: str, row: Mapping[str, Any]) -> None:
    """Write a row in one rename."""
    (folder / "rows").mkdir(exist_ok=True)
    partial = folder / "rows" / f".{name}.partial"
    partial.write_text(json.dumps(row, indent=1, default=str) + "\n", encoding="utf-8")
    partial.replace(folder / "rows" / f"{name}.json")
    print(f"row {name}", flush=True)


def state(search: PlanSearch) -> dict[str, Any]:
    """Return all that a search has found so far."""
    return {
        "trials": [trial.to_json() for trial in search.trials.values()],
        "builds": [dict(build) for build in search.builds],
        "not_tried": dict(search.not_tried),
    }


def keep_layers(folder: Path, name: str, search: PlanSearch) -> None:
    """Copy what the inspector says of every plan, and the builders' logs, to where an archive finds them."""
    place = folder / "layers"
    place.mkdir(exist_ok=True)
    for choices, built in search.plans.items():
        form = "+".join(choice.name for choice in choices).replace(" ", "_").replace("/", "_")[:120] or "plain"
        for source in (built.graph.folder / layers_name(built.plan.file), *built.graph.folder.glob("plans/*.log")):
            if source.exists():
                shutil.copyfile(source, place / f"{name}-{form}{''.join(source.suffixes[-2:])}")


def guarded(folder: Path, name: str, step: Callable[[], object]) -> bool:
    """Do a step; its error is a row, and the others go on."""
    try:
        step()
    except Exception as error:
        traceback.print_exc()
        write(folder, f"{name}-error", {"why": str(error), "kind": type(error).__name__})
        return False
    return True


def tune(folder: Path, arguments: argparse.Namespace) -> int:
    """Build the candidates of all cases beside each other, then time each case alone, combine, and time the whole."""
    searches: dict[str, PlanSearch] = {}
    with ExitStack() as stack:

        def build(name: str) -> None:
            def step() -> None:
                searches[name] = search_of(folder, name, arguments, stack)
                searches[name].build_singles()
                keep_layers(folder, name, searches[name])
                write(folder, f"build-{name}", state(searches[name]))

            if not guarded(folder, f"build-{name}", step) and name in searches and () not in searches[name].plans:
                del searches[name]

        for names in filter(None, ([*CASES][:3], [*CASES][3:])):
            wanted = [name for name in names if time.monotonic() < arguments.deadline]
            with ThreadPoolExecutor(len(names)) as pool:
                list(pool.map(build, wanted))
            there = [name for name in wanted if name in searches]
            for name in there:
                with alone(folder):
                    if guarded(folder, f"trial-{name}", searches[name].time_singles):
                        write(folder, f"trial-{name}", state(searches[name]))
            for name in there:
                arguments.caches[name].build_until(min(arguments.deadline, time.monotonic() + COMBINE_SECONDS))
            with ThreadPoolExecutor(len(names)) as pool:
                list(pool.map(lambda one: guarded(folder, f"combine-{one}", searches[one].build_together), there))
            for name in there:
                arguments.caches[name].build_until(time.monotonic())  # what is timed is timed alone
                with alone(folder):

                    def whole(name: str = name) -> None:
                        write(folder, f"whole-{name}", searches[name].combine().tuning.to_json())

                    guarded(folder, f"whole-{name}", whole)
                keep_layers(folder, name, searches[name])
    return 0 if [*(folder / "rows").glob("whole-*.json")] else 1


def main() -> int:
    """Do what the command line asks for; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, metavar="FOLDER")
    parser.add_argument("--minutes", type=float, default=10.0, metavar="N", help="no build begins after so long")
    parser.add_argument(
        "--build-seconds",
        type=float,
        default=110.0,
        metavar="N",
        help="for a case, after its plain plan",
    )
    parser.add_argument("--export", action="store_true", help="export alone; needs PyTorch, no GPU")
    parser.add_argument("--jobs", type=int, default=4, metavar="N", help="builds at once of each case")
    parser.add_argument("--level", type=int, choices=range(6), help="the builder's optimization level")
    parser.add_argument("--without-tactics", action="append", default=[], choices=TACTICS)
    parser.add_argument("--wait", action="store_true", help="wait for TensorRT and the GPU until the time is over")
    arguments = parser.parse_args()
    arguments.deadline = time.monotonic() + 60 * arguments.minutes
    arguments.caches = {}
    if arguments.export:
        return deploy(arguments.folder)
    while (why := why_no_flavour(TENSORRT)) and arguments.wait and time.monotonic() < arguments.deadline:
        time.sleep(2)
    if why:
        raise MissingRequirement(f"plans are timed on a GPU by TensorRT: {why}")
    arguments.folder.mkdir(parents=True, exist_ok=True)
    return tune(arguments.folder, arguments)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except Attn2trtError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
