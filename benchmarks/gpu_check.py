"""Compile, judge and time plans of blocks and networks on a machine with a GPU, tier by tier; write what was found.

Where PyTorch is:         python benchmarks/gpu_check.py --export FOLDER [--tier N]
On the GPU:               python benchmarks/gpu_check.py FOLDER [--tier N] [--without-tactics SOURCE ...]
There, where PyTorch is:  python benchmarks/gpu_check.py --baselines FOLDER [--tier N]

The first writes a bundle for every target into FOLDER, the second needs no PyTorch and no ONNX Runtime, the third
times PyTorch in float16 beside what the second has written. What has a passed row of the same code, TensorRT and GPU
is left out: an interrupted run goes on where it ended; --tier takes one tier alone. Writes
benchmarks/results/tensorrt.json after every row. Exit code 1: one did not pass; 3: this machine has no GPU.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

from code_hash import code_hash

from attn2trt.benchmarking import benchmark
from attn2trt.compiling import compile_bundle
from attn2trt.engines.environment import ask_driver, probe_tensorrt
from attn2trt.engines.tensorrt.build import Options
from attn2trt.engines.tensorrt.versions import TACTICS
from attn2trt.engines.timing.method import Method
from attn2trt.engines.timing.runtimes import CUDA_COMPILE, CUDA_EAGER, PLANS
from attn2trt.errors import Attn2trtError, InputError, MissingRequirement
from attn2trt.export.bundle import Bundle, open_bundle
from attn2trt.plan_stages import plan_stages
from attn2trt.validate.recorded import from_tensors

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "benchmarks/results/tensorrt.json"
ROOMS = ("export", "engines", "validate")
BLOCKS = ("se", "cbam", "eca", "coord_att", "gam", "psa")
PRECISIONS = ("fp32", "tf32", "fp16")
# 8-bit integers: a network whose gates stay in float32, and one with convolutions in them
INT8 = ("resnet50+se", "resnet50+cbam")
# of the ranges below
BATCHES = (1, 8)
TIMING = Method(seconds=1.0, max_seconds=4.0, warm_up_seconds=0.3)
BLOCK_AXES, IMAGE_AXES = "batch=1:2:8,height=14:28:56,width=14:28:56", "batch=1:2:8"
# each in less than ten minutes: one block end to end, the other blocks, networks
TIERS: tuple[tuple[str, ...], ...] = (
    ("se",),
    BLOCKS[1:],
    ("resnet50", *(f"resnet50+{block}" for block in ("se", "cbam", "eca", "coord_att", "psa"))),
    tuple(
        f"{name}{block}"
        for name in ("mobilenetv2_100", "efficientnet_b0")
        for block in ("", "+se", "+cbam", "+coord_att")
    ),
)


def targets(tier: int | None) -> list[str]:
    """Of one tier, counted from 1, or of all."""
    return [name for number, names in enumerate(TIERS, 1) if tier in (None, number) for name in names]


def export(folder: Path, names: list[str]) -> None:
    """Deploy every target that has no bundle in ``folder`` yet."""
    import attn2trt

    for name in names:
        dynamic = BLOCK_AXES if name in BLOCKS else IMAGE_AXES
        precision = ",".join(precisions(name))
        bundle = attn2trt.deploy(name, out=folder / name, dynamic=dynamic, precision=precision)
        print(name, "is there" if bundle.reused else "exported", flush=True)


def precisions(name: str) -> tuple[str, ...]:
    """Those that a target is compiled in."""
    return (*PRECISIONS, "int8") if name in INT8 else PRECISIONS


def measure(path: Path, precision: str, options: Options) -> dict[str, Any]:
    """One row: the plan, and the verdict on it."""
    since = time.perf_counter()
    row: dict[str, Any] = {"target": path.name, "precision": precision, "passed": False}
    try:
        bundle, plan = compile_bundle(path, precision=precision, options=options)
        judged = plan_stages(bundle, lambda: recorded(bundle))
        stages = [stage for stage in judged if stage.stage.startswith(plan.stage)]
    except MissingRequirement:
        raise
    except Attn2trtError as error:
        return row | {"why": str(error), "seconds": round(time.perf_counter() - since, 1)}
    row |= {
        "passed": bool(stages) and all(stage.status == "passed" for stage in stages),
        "why": "; ".join(f"{stage.stage}: {stage.status} {stage.why}" for stage in stages if stage.status != "passed"),
        "worst_ratio": max(stage.worst_ratio for stage in stages),
        "cases": max(stage.case_count for stage in stages),
        "plan": {key: value for key, value in plan.to_json().items() if key != "graph"},
    }
    if row["passed"]:
        row["timing"] = timed(path, [name for name, (one, _) in PLANS.items() if one == precision])
    return row | {"seconds": round(time.perf_counter() - since, 1)}


def timed(path: Path, runtimes: list[str]) -> list[dict[str, Any]]:
    """Milliseconds of each of the runtimes at each batch, or why there are none."""
    found = []
    for one in benchmark(str(path), batches=BATCHES, runtimes=runtimes, method=TIMING).rows:
        entry: dict[str, Any] = {"runtime": one.runtime, "model": one.model, "batch": one.batch, "status": one.status}
        if one.measurement is None:
            found.append(entry | {"why": one.why})
            continue
        on_device = one.measurement.on_device
        found.append(
            entry
            | {
                "median_ms": one.measurement.latency.median_ms,
                "p99_ms": one.measurement.latency.p99_ms,
                "same_input_ms": one.measurement.hot.median_ms,
                "on_device_ms": on_device.median_ms if on_device is not None else None,
            }
        )
    return found


def baselines(folder: Path, names: list[str]) -> int:
    """PyTorch in float16 on the same GPU, written beside the rows of the plans."""
    driver = ask_driver()
    if not driver.devices:
        raise MissingRequirement(f"{driver.problem}; run on a machine with an NVIDIA GPU and its driver")
    document = json.loads(RESULTS.read_text()) if RESULTS.exists() else {"rows": []}
    if document.get("devices", list(driver.devices)) != list(driver.devices):
        raise InputError(f"received rows of {document['devices']} in {RESULTS.name}; here is {driver.devices[0]}")
    there = {row["target"]: row for row in document.get("baselines", [])}
    for name in names:
        if name not in there:
            there[name] = {"target": name, "timing": timed(folder / name, [CUDA_EAGER, CUDA_COMPILE])}
            print(json.dumps(there[name]), flush=True)
            RESULTS.parent.mkdir(exist_ok=True)
            RESULTS.write_text(json.dumps({**document, "baselines": list(there.values())}, indent=1) + "\n")
    return 0


def recorded(bundle: Bundle) -> Iterator[Any]:
    """The cases that the bundle holds."""
    return from_tensors(bundle.reference_path, bundle.manifest["cases"])


def main(folder: Path, names: list[str], options: Options) -> int:
    """Measure what is not measured yet; exit code 1 where one did not pass."""
    found, driver = probe_tensorrt(), ask_driver()
    if found.status != "usable":
        raise MissingRequirement(f"TensorRT is {found.status} ({found.detail}); {found.fix}")
    setting = {"tensorrt": found.version, "devices": list(driver.devices), "driver": driver.version}
    document: dict[str, Any] = {
        "date": date.today().isoformat(),
        "method": "plans of the bundles' ranges, tf32 where it is named alone; judged on the recorded cases in float64",
        "without_tactics": list(options.without_tactics),
        "sources": code_hash(ROOMS),
        **setting,
        "rows": [],
    }
    if RESULTS.exists():
        before = json.loads(RESULTS.read_text())
        if all(before.get(key) == document[key] for key in ("sources", "without_tactics", *setting)):
            document["rows"] = [row for row in before["rows"] if row["passed"]]
            document["baselines"] = before.get("baselines", [])
    done = {(row["target"], row["precision"]) for row in document["rows"]}
    for name, precision in [(target, one) for target in names for one in precisions(target)]:
        if (name, precision) in done:
            continue
        open_bundle(folder / name)
        row = measure(folder / name, precision, options)
        document["rows"].append(row)
        print(json.dumps(row), flush=True)
        RESULTS.parent.mkdir(exist_ok=True)
        RESULTS.write_text(json.dumps(document, indent=1) + "\n")
    return 0 if all(row["passed"] for row in document["rows"]) else 1


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="holds a bundle for every target")
    parser.add_argument("--export", action="store_true", help="write the bundles; needs PyTorch")
    parser.add_argument("--baselines", action="store_true", help="time PyTorch in float16; needs PyTorch and the GPU")
    parser.add_argument("--tier", type=int, choices=range(1, len(TIERS) + 1), help="only this one")
    parser.add_argument("--without-tactics", action="append", default=[], choices=TACTICS)
    arguments = parser.parse_args()
    try:
        if arguments.export:
            export(arguments.folder, targets(arguments.tier))
            sys.exit(0)
        if arguments.baselines:
            sys.exit(baselines(arguments.folder, targets(arguments.tier)))
        chosen = Options(without_tactics=tuple(arguments.without_tactics))
        sys.exit(main(arguments.folder, targets(arguments.tier), chosen))
    except Attn2trtError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
