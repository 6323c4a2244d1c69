"""One step of the GPU check, in the Python that it needs; gpu_check.py starts it.

python benchmarks/gpu_step.py --probe                   prints what this Python and the driver have, as JSON
python benchmarks/gpu_step.py FOLDER --step NAME        does the step and writes FOLDER/rows/NAME.json
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from gpu import building, exporting, timing, work
from gpu.rows import write_row

from attn2trt.core.processes import die_with_parent
from attn2trt.engines.environment import ask_driver, installed_version
from attn2trt.engines.tensorrt.build import BuildOptions
from attn2trt.engines.tensorrt.flavours import RTX, TENSORRT
from attn2trt.engines.tensorrt.here import probe_flavour
from attn2trt.engines.tensorrt.versions import TACTICS
from attn2trt.errors import Attn2trtError, InputError

PACKAGES = ("torch", "timm", "onnx", "onnxruntime-gpu", "onnxruntime", "numpy", "tensorrt", "tensorrt-rtx")


def probe(targets: str | None) -> dict[str, Any]:
    """Describe the machine: the driver's devices, the TensorRT that builds, and the versions of packages."""
    driver, flavour = ask_driver(), RTX if targets else TENSORRT
    found = probe_flavour(flavour)
    versions = {name: version for name in PACKAGES if (version := installed_version(name))}
    return {
        "devices": list(driver.devices),
        "driver": driver.version,
        "problem": driver.problem,
        "flavour": flavour.name,
        "title": flavour.title,
        "tensorrt": found.version,
        "status": found.status,
        "detail": found.detail,
        "fix": found.fix,
        "versions": {"python": platform.python_version(), **versions},
    }


def do(folder: Path, step: work.Step, setting: str, options: BuildOptions, targets: str | None) -> dict[str, Any]:
    """Do the step; returns what it found."""
    if step.kind == "copies":
        return building.measure_copies()
    case, flavour = work.cases()[step.case], (RTX if targets else TENSORRT).name
    work_of: dict[work.Kind, Callable[[], dict[str, Any]]] = {
        "export": lambda: exporting.export_case(folder, case),
        "build": lambda: building.build_plan(folder, case, step.precision, options, targets),
        "plain": lambda: building.build_plain(folder, case, step.precision, options),
        "compile": lambda: timing.compile_pytorch(folder, case, step.batch),
        "time": lambda: timing.time_plans(folder, case, step.batch, flavour, setting),
        "pytorch": lambda: timing.time_pytorch(folder, case, step.batch, setting),
    }
    return work_of[step.kind]()


def main(arguments: argparse.Namespace) -> int:
    """Write the step's row; an error of ours is in the row."""
    die_with_parent()
    steps = {step.name: step for step in work.steps()}
    if arguments.step not in steps:
        raise InputError(f"received --step {arguments.step}; expected one of gpu/work.py; start gpu_check.py instead")
    step = steps[arguments.step]
    row: dict[str, Any] = {
        "step": step.name,
        "kind": step.kind,
        "case": step.case,
        "precision": step.precision,
        "batch": step.batch,
        "setting": arguments.setting,
        "status": "done",
    }
    options = BuildOptions(without_tactics=tuple(arguments.without_tactics))
    try:
        row |= do(arguments.folder, step, arguments.setting, options, arguments.targets)
    except Attn2trtError as error:
        row |= {"status": "failed", "why": str(error), "exit_code": error.exit_code}
    row["seconds"] = round(time.monotonic() - arguments.since, 1)
    write_row(arguments.folder, row)
    return 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?", default=Path())
    parser.add_argument("--probe", action="store_true")
    parser.add_argument("--step", default="")
    parser.add_argument("--setting", default="")
    parser.add_argument("--since", type=float, default=time.monotonic())
    parser.add_argument("--for", dest="targets")
    parser.add_argument("--without-tactics", action="append", default=[], choices=TACTICS)
    given = parser.parse_args()
    try:
        if given.probe:
            print(json.dumps(probe(given.targets)))
            sys.exit(0)
        sys.exit(main(given))
    except Attn2trtError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
