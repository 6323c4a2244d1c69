"""Tune blocks and networks for TensorRT on a machine with a GPU for so many minutes, and time what others make of them.

python benchmarks/gpu_tune.py FOLDER --minutes N [--python-trt PYTHON] [--without-tactics SOURCE ...]
python benchmarks/gpu_tune.py FOLDER --minutes N --export     exports alone; needs no GPU

This Python has PyTorch. --python-trt is one with TensorRT, which may have no PyTorch: plans are built and run there.
With --wait exports begin before it is there. Float16, inputs and outputs in float16; the most wanted comes first:

1. se, cbam, coord_att at 32x256x56x56: our plan, that of PyTorch's plain export, PyTorch eager and compiled, all as
   CUDA graphs; what our plan costs layer by layer beside its bytes over bandwidth; then the candidates of `attn2trt
   tune --runtime tensorrt`, their combinations, and the best beside the others
2. resnet50+se and resnet50 at batch 8 in the same way, then int8-fp16, tuned as well, and int8 beside float16
3. resnet50+cbam and resnet50+coord_att at 8, then eca, gam and psa at 32x256x56x56
4. se, cbam, coord_att at batches 8 and 1, the networks at 32 and 1, eca, gam and psa at 8 and 1

Ten minutes are for the first two; what there was no time for is listed as not reached, and in the page. Builds run
beside each other and are stopped while something is timed. Every row is written the moment that it is known; run again
with the same FOLDER, a run goes on. A row of other code, another GPU, TensorRT or level is not taken. FOLDER keeps
rows, bundles, plans and logs; FOLDER/gpu_tune.tar, or --archive, holds all that is worth carrying home in less than
16 MiB. It holds the kernels that TensorRT timed: after `tar -xf` and `gunzip -r` in a folder, --timing-caches names it.
Results go to benchmarks/results/gpu_tune.json and docs/gpu_tune.md once a GPU has timed something.

Exit code 0: something was timed, and nothing that was reached failed; 1: otherwise; 2: wrong arguments; 3: no GPU, no
TensorRT, or attn2trt does not work in one of the Pythons; 4: reading or writing failed; 130: interrupted.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from gpu import tune_work
from gpu.alone import alone
from gpu.processes import python_of
from gpu_check import print_left, run_options, start
from gpu_tune_page import is_measured

from attn2trt.core.processes import die_with_parent
from attn2trt.engines.tensorrt.build import BuildOptions
from attn2trt.errors import InputError


def main(arguments: argparse.Namespace) -> int:
    """Do one run, or one step of a run; returns the exit code."""
    if arguments.step:
        return do(arguments)
    if arguments.wait and arguments.python_trt is None:
        raise InputError("received --wait; expected it with --python-trt, which is waited for; name that Python")
    if arguments.folder.exists() and not arguments.folder.is_dir():
        raise InputError(f"received {arguments.folder}, which is no folder; expected one, or a new name; correct it")
    if arguments.timing_caches is not None and not arguments.timing_caches.is_dir():
        raise InputError(f"received --timing-caches {arguments.timing_caches}; expected a folder; correct the path")
    from gpu.tune_run import TuneRun

    run = TuneRun(arguments, python_of(arguments.python_trt, must_be_there=not arguments.wait))
    found = run.export() if arguments.export else run.whole()[0]
    print_left(found)
    return 0 if all_done(found, exports_alone=arguments.export) else 1


def all_done(found: Mapping[str, Any], *, exports_alone: bool) -> bool:
    """Return True if nothing that was reached failed, and something was timed, or exported if that was all."""
    something = bool(found["rows"]) if exports_alone else is_measured(found)
    return something and all(row["status"] == "done" for row in found["rows"])


def do(arguments: argparse.Namespace) -> int:
    """Do one step; what is timed runs alone on the GPU."""
    die_with_parent()
    steps = {step.name: step for step in tune_work.steps()}
    if arguments.step not in steps:
        raise InputError(f"received --step {arguments.step}; expected one of gpu/tune_work.py; leave it out")
    from gpu.tune_steps import Work, run

    step = steps[arguments.step]
    work = Work(
        arguments.folder,
        step,
        arguments.setting,
        BuildOptions(level=arguments.level, without_tactics=tuple(arguments.without_tactics)),
        arguments.build_seconds,
        carried=arguments.timing_caches,
    )
    with alone(arguments.folder) if step.pool == "alone" else nullcontext():
        run(work, arguments.since)
    return 0


def parse(words: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line; exit code 2 for what is wrong in it."""
    parser = run_options(__doc__, "gpu_tune.tar")
    parser.add_argument("--wait", action="store_true", help="export until --python-trt is there")
    parser.add_argument("--level", type=int, choices=range(6), help="the builder's optimization level")
    parser.add_argument("--timing-caches", type=Path, metavar="FOLDER", help="kernels that an earlier run has timed")
    parser.add_argument(
        "--build-seconds", type=float, default=150.0, metavar="N", help="for the candidates of a case (default: 150)"
    )
    for hidden in ("--step", "--setting"):
        parser.add_argument(hidden, default="", help=argparse.SUPPRESS)
    parser.add_argument("--since", type=float, default=time.monotonic(), help=argparse.SUPPRESS)
    return parser.parse_args(words, argparse.Namespace(targets=None))


if __name__ == "__main__":
    start(lambda: main(parse()))
