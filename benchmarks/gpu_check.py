"""Compile, judge and time plans of blocks and networks on a machine with a GPU, for so many minutes.

python benchmarks/gpu_check.py FOLDER --minutes N [--python-trt PYTHON] [--without-tactics SOURCE ...]
python benchmarks/gpu_check.py FOLDER --minutes N --export        exports alone; needs no GPU
python benchmarks/gpu_check.py FOLDER --minutes N --for sm89      with TensorRT for RTX; without a GPU builds alone

This Python has PyTorch, exports, and times PyTorch's own kernels. --python-trt is one with TensorRT, which may have no
PyTorch, and builds, judges and times plans; with --wait exports begin before it is there. Exports and builds run beside
each other, what is timed runs alone. Every row is written the moment that it is known: a run that is killed leaves what
it has, and run again it goes on. Steps for which there was no time are listed. FOLDER keeps rows, bundles and logs;
FOLDER/gpu_check.tar, or --archive, holds everything worth carrying home in less than 16 MiB. Results go to
benchmarks/results/tensorrt.json and docs/gpu.md.

Exit code 0: everything that was reached passed; 1: something did not, or no plan was judged; 2: wrong arguments; 3: no
GPU, no TensorRT, or attn2trt does not work in one of the Pythons; 4: writing failed.
"""

from __future__ import annotations

import argparse
import contextlib
import math
import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from gpu.archive import NAME
from gpu.check import Check
from gpu.document import by_reason
from gpu.processes import python_of

from attn2trt.engines.tensorrt.device import NO_DEVICE
from attn2trt.engines.tensorrt.flavours import RTX
from attn2trt.engines.tensorrt.targets import parse_targets
from attn2trt.engines.tensorrt.versions import TACTICS
from attn2trt.errors import Attn2trtError, InputError, MissingRequirement, StorageError

INTERRUPTED = 130


def main(arguments: argparse.Namespace) -> int:
    """Do one run; returns the exit code."""
    if arguments.targets is not None and not parse_targets(arguments.targets, RTX):
        raise InputError(f"received --for {arguments.targets}; expected a compute capability to build for; name one")
    if arguments.wait and arguments.python_trt is None:
        raise InputError("received --wait; expected it with --python-trt, which is waited for; name that Python")
    if arguments.folder.exists() and not arguments.folder.is_dir():
        raise InputError(f"received {arguments.folder}, which is no folder; expected one, or a new name; correct it")
    check = Check(arguments, python_of(arguments.python_trt, must_be_there=not arguments.wait))
    problem = ""
    if arguments.export:
        found = check.export()
    else:
        found, problem = check.whole()
    print_left(found)
    if problem:
        raise MissingRequirement(f"{problem}, so that nothing was run; {NO_DEVICE}")
    return 0 if all_passed(found, exports_alone=arguments.export) else 1


def print_left(found: Mapping[str, Any]) -> None:
    """List what was not reached, with the reasons."""
    for why, names in by_reason(found["not_reached"]).items():
        print(f"not reached: {', '.join(names)}: {why}")


def all_passed(found: Mapping[str, Any], *, exports_alone: bool) -> bool:
    """Return True if everything of ours that was reached passed, and something was."""
    judged = found["exports"] if exports_alone else found["rows"]
    rows = (*found["exports"], *found["rows"])
    return bool(judged) and all(row["status"] == "done" and row["passed"] for row in rows)


def parse(words: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line; exit code 2 for what is wrong in it."""
    parser = run_options(__doc__, NAME)
    parser.add_argument("--wait", action="store_true", help="export until --python-trt is there")
    parser.add_argument("--for", dest="targets", metavar="LIST", help="build with TensorRT for RTX, for sm86,sm89")
    return parser.parse_args(words)


def run_options(about: str | None, archive: str) -> argparse.ArgumentParser:
    """Return a parser with the options of every run on a GPU."""
    cores = os.cpu_count() or 1
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="keeps everything, for the next run, too")
    parser.add_argument("--minutes", type=minutes, required=True, metavar="N", help="the time that this run may take")
    parser.add_argument("--python-trt", metavar="PYTHON", help="a Python with TensorRT (default: this one)")
    parser.add_argument("--export", action="store_true", help="export alone")
    parser.add_argument("--without-tactics", action="append", default=[], choices=TACTICS)
    parser.add_argument("--jobs", type=count, default=max(1, cores // 2), metavar="N", help="steps at once on the GPU")
    parser.add_argument("--exports", type=count, default=max(1, cores // 4), metavar="N", help="exports at once")
    parser.add_argument("--archive", type=Path, metavar="FILE", help=f"default: FOLDER/{archive}")
    parser.add_argument("--again", action="store_true", help="do steps that failed once more")
    return parser


def minutes(text: str) -> float:
    with contextlib.suppress(ValueError):
        if 0 < (found := float(text)) < math.inf:
            return found
    raise argparse.ArgumentTypeError(f"received {text!r}; expected a number of minutes above 0")


def count(text: str) -> int:
    if text.isdecimal() and int(text):
        return int(text)
    raise argparse.ArgumentTypeError(f"received {text!r}; expected a number of 1 or more")


def start(work: Callable[[], int]) -> NoReturn:
    """Do the work of a command line, and exit with its code or, with one line, with that of its error."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        sys.exit(work())
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(INTERRUPTED)
    except Attn2trtError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except OSError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(StorageError.exit_code)


if __name__ == "__main__":
    start(lambda: main(parse()))
