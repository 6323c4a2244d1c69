"""Run what a user runs, from a bundle to a proven plan, on a machine with a GPU, and compare it with what it has to do.

python benchmarks/gpu_commands.py FOLDER --minutes N --python-trt PYTHON [--without-tactics SOURCE ...]
python benchmarks/gpu_commands.py FOLDER --minutes N --export     exports alone; needs no GPU

This Python has PyTorch; --python-trt is one with TensorRT, which may have no PyTorch. --onnxruntime-gpu names a folder
with ONNX Runtime for GPUs, installed with `pip install --target`, and --trt-include one with TensorRT's headers, for
the C++ program; without them these commands are listed as not reached. Commands run beside each other, benchmarks
alone; with --beside another run on this GPU, which times plans, keeps them out of its timings. Every row is written
the moment that it is known; run again, it goes on. A run waits for another one in its FOLDER, which may be one that
exports. Results go to benchmarks/results/gpu_commands.json and docs/gpu_commands.md if a GPU ran them, and all that is
worth carrying home to FOLDER/gpu_commands.tar, or --archive, in less than 16 MiB.

Exit code 0: every command that was reached did what it has to do; 1: one did not; 2: wrong arguments; 3: no GPU, no
TensorRT, or attn2trt does not work in one of the Pythons; 4: writing failed.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path

from gpu.alone import beside
from gpu.processes import python_of
from gpu.rows import write_row
from gpu.user_commands import commands
from gpu.user_row import run
from gpu.user_run import NAME, UserRun
from gpu_check import print_left, run_options, start

from attn2trt.core.processes import die_with_parent
from attn2trt.errors import InputError


def main(arguments: argparse.Namespace) -> int:
    """Do one run, or one command of a run; returns the exit code."""
    for option, place in (("--onnxruntime-gpu", arguments.onnxruntime_gpu), ("--trt-include", arguments.trt_include)):
        if place is not None and not place.is_dir():
            raise InputError(f"received {option} {place}; expected a folder; correct the path")
    if arguments.folder.exists() and not arguments.folder.is_dir():
        raise InputError(f"received {arguments.folder}, which is no folder; expected one, or a new name; correct it")
    this = UserRun(arguments, python_of(arguments.python_trt))
    if arguments.step:
        die_with_parent()
        known = {command.name: command for command in commands()}
        if arguments.step not in known:
            raise InputError(f"received --step {arguments.step}; expected one of gpu/user_commands.py; leave it out")
        command = known[arguments.step]
        since = time.monotonic()
        with beside(arguments.beside if command.needs_gpu else None):
            waited = time.monotonic() - since
            row = run(command, this.machine, arguments.setting)
        write_row(arguments.folder, {**row, "waited": round(waited, 1)})
        return 0
    found = this.export() if arguments.export else this.whole()[0]
    print_left(found)
    rows = found["rows"]
    return 0 if rows and all(row["status"] == "done" for row in rows) else 1


def parse(words: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line; exit code 2 for what is wrong in it."""
    parser = run_options(__doc__, NAME)
    parser.add_argument("--onnxruntime-gpu", type=Path, metavar="FOLDER", help="ONNX Runtime for GPUs")
    parser.add_argument("--trt-include", type=Path, metavar="FOLDER", help="TensorRT's headers")
    parser.add_argument("--beside", type=Path, metavar="FOLDER", help="of another run, which times plans meanwhile")
    parser.add_argument("--step", default="", help=argparse.SUPPRESS)
    parser.add_argument("--setting", default="", help=argparse.SUPPRESS)
    return parser.parse_args(words, argparse.Namespace(targets=None))


if __name__ == "__main__":
    start(lambda: main(parse()))
