"""Compile, judge and time plans of blocks and networks on a machine with a GPU, tier by tier; write what was found.

Where PyTorch is:         python benchmarks/gpu_check.py --export FOLDER [--tier N]
On the GPU:               python benchmarks/gpu_check.py FOLDER [--tier N] [--without-tactics SOURCE ...]
There, where PyTorch is:  python benchmarks/gpu_check.py --baselines FOLDER [--tier N]

The first writes a bundle for every target into FOLDER and PyTorch's plain export of it beside, the second needs no
PyTorch and no ONNX Runtime and times the plan of that export, built with TensorRT's defaults, in turn with ours, the
third times PyTorch in float16 beside what the second has written. What has a passed row of the same code, TensorRT
and GPU is left out: an interrupted run goes on where it ended; --tier takes one tier alone. Writes
benchmarks/results/tensorrt.json and docs/gpu.md after every row. Exit code 1: one did not pass; 3: there is no GPU.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator, Sequence
from datetime import date
from pathlib import Path
from typing import Any

import block_bytes
import plain_plans
import tensorrt_page
from code_hash import code_hash
from tensorrt_page import PAGE, RESULTS

from attn2trt.benchmarking import benchmark
from attn2trt.compiling import compile_bundle
from attn2trt.contenders import Contender
from attn2trt.engines.environment import NO_DEVICE, ask_driver, probe_tensorrt
from attn2trt.engines.tensorrt.bandwidth import bytes_per_s
from attn2trt.engines.tensorrt.build import Options
from attn2trt.engines.tensorrt.device import Device
from attn2trt.engines.tensorrt.flavours import TENSORRT
from attn2trt.engines.tensorrt.layers import read_layers, summary
from attn2trt.engines.tensorrt.plans import layers_name
from attn2trt.engines.tensorrt.versions import TACTICS
from attn2trt.engines.timing.method import Method
from attn2trt.engines.timing.runtimes import MODULES, PLANS
from attn2trt.errors import Attn2trtError, InputError, MissingRequirement, ModuleRefused
from attn2trt.export.bundle import Bundle, open_bundle
from attn2trt.plan_stages import plan_stages
from attn2trt.validate.recorded import from_tensors

ROOMS = ("export", "engines", "validate")
BLOCKS = ("se", "cbam", "eca", "coord_att", "gam", "psa")
PRECISIONS = ("fp32", "tf32", "fp16")
# 8-bit integers: a network whose gates stay in float32, and one with convolutions in them
INT8 = ("resnet50+se", "resnet50+cbam")
# of the range below
BATCHES = (1, 8, 32)
# TensorRT chooses kernels for the second; most cases are of the bundles' own optimum, which is smaller for their sake
PROFILES = ("batch=1:8:32",)
HALF = [name for name, kind in MODULES.items() if kind.half]
TIMING = Method(seconds=1.0, max_seconds=4.0, warm_up_seconds=0.3)
BLOCK_AXES, IMAGE_AXES = "batch=1:2:32,height=14:28:56,width=14:28:56", "batch=1:2:32"
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
        if not moves_path(folder, name).exists():
            export_beside(folder, name, dynamic, bundle)


def export_beside(folder: Path, name: str, dynamic: str, bundle: Bundle) -> None:
    """PyTorch's plain export of a target, where it does not refuse it, then what the target's blocks must move."""
    from attn2trt.modules import catalog

    moves_path(folder, name).parent.mkdir(exist_ok=True)
    target = catalog.resolve(name, dynamic=dynamic)
    module = target.build()
    try:
        plain_plans.export_plain(folder, target, module, bundle)
    except ModuleRefused as error:
        print(f"{name} has no plain export: {error}", flush=True)
    counted = block_bytes.count(name, module) if "+" in name else []
    moves_path(folder, name).write_text(json.dumps(counted) + "\n")


def moves_path(folder: Path, name: str) -> Path:
    """Where lies what the blocks of a target must move; written last of what lies beside its bundle."""
    return folder / "plain" / f"{name}.moves.json"


def precisions(name: str) -> tuple[str, ...]:
    """Those that a target is compiled in."""
    return (*PRECISIONS, "int8") if name in INT8 else PRECISIONS


def measure(path: Path, precision: str, options: Options) -> dict[str, Any]:
    """One row: the plan, and the verdict on it."""
    since = time.perf_counter()
    row: dict[str, Any] = {"target": path.name, "precision": precision, "passed": False}
    try:
        bundle, plan = compile_bundle(path, precision=precision, profiles=PROFILES, options=options)
        judged = plan_stages(bundle, lambda: recorded(bundle))
        stages = [stage for stage in judged if stage.stage.startswith(plan.stage)]
    except MissingRequirement:
        raise
    except Attn2trtError as error:
        return row | {"why": str(error), "seconds": round(time.perf_counter() - since, 1)}
    row |= {
        "passed": bool(stages) and all(stage.has_passed for stage in stages),
        "why": "; ".join(f"{stage.stage}: {stage.status} {stage.why}" for stage in stages if not stage.has_passed),
        "worst_ratio": max(stage.worst_ratio for stage in stages),
        "cases": max(stage.case_count for stage in stages),
        "plan": {key: value for key, value in plan.to_json().items() if key != "graph"},
    }
    if row["passed"]:
        beside = []
        row["layers"] = summarised(bundle.path / layers_name(plan.file))
        if precision in plain_plans.PRECISIONS:
            beside = [plain_plans.plain_contender(bundle, precision, PROFILES, options)]
            row["plain_layers"] = summarised(plain_plans.layers_path(path.parent, path.name, precision))
        row["timing"] = timed(
            path, [name for name, kind in PLANS.items() if kind[:2] == (TENSORRT.name, precision)], beside
        )
    return row | {"seconds": round(time.perf_counter() - since, 1)}


def summarised(file: Path) -> dict[str, dict[str, int]]:
    """What TensorRT's inspector says of a plan, in numbers; nothing where it wrote nothing that can be read."""
    try:
        return summary(read_layers(file.read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return {}


def timed(path: Path, runtimes: list[str], beside: Sequence[Contender] = ()) -> list[dict[str, Any]]:
    """Milliseconds of each of the runtimes at each batch, or why there are none."""
    found = []
    for one in benchmark(str(path), batches=BATCHES, runtimes=runtimes, beside=beside, method=TIMING).rows:
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
        raise MissingRequirement(f"{driver.problem}; {NO_DEVICE}")
    document = json.loads(RESULTS.read_text()) if RESULTS.exists() else {"rows": []}
    if document.get("devices", list(driver.devices)) != list(driver.devices):
        raise InputError(f"received rows of {document['devices']} in {RESULTS.name}; here is {driver.devices[0]}")
    there = {row["target"]: row for row in document.get("baselines", [])}
    for name in names:
        if name not in there:
            there[name] = {"target": name, "timing": timed(folder / name, HALF)}
            print(json.dumps(there[name]), flush=True)
            write({**document, "baselines": list(there.values())})
    return 0


def write(document: dict[str, Any]) -> None:
    """The results, and the page that is made of them."""
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(document, indent=1) + "\n")
    if document.get("tensorrt"):
        PAGE.write_text(tensorrt_page.page(document))


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
        "blocks": {},
        "rows": [],
    }
    if RESULTS.exists():
        before = json.loads(RESULTS.read_text())
        if all(before.get(key) == document[key] for key in ("sources", "without_tactics", *setting)):
            document["rows"] = [row for row in before["rows"] if row["passed"]]
            document |= {key: before[key] for key in ("baselines", "blocks", "bytes_per_s") if key in before}
    if "bytes_per_s" not in document:
        with Device() as device:
            document["bytes_per_s"] = bytes_per_s(device)
    done = {(row["target"], row["precision"]) for row in document["rows"]}
    for name, precision in [(target, one) for target in names for one in precisions(target)]:
        if (name, precision) in done:
            continue
        open_bundle(folder / name)
        row = measure(folder / name, precision, options)
        document["rows"].append(row)
        print(json.dumps(row), flush=True)
        moves = moves_path(folder, name)
        if moves.exists():
            document["blocks"][name] = json.loads(moves.read_text())
        write(document)
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
