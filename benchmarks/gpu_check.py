"""Compile, judge and time plans of blocks and networks on a machine with a GPU, for so many minutes.

python benchmarks/gpu_check.py FOLDER --minutes N [--python-trt PYTHON] [--without-tactics SOURCE ...]
python benchmarks/gpu_check.py FOLDER --minutes N --export        exports alone; needs no GPU
python benchmarks/gpu_check.py FOLDER --minutes N --for sm89      with TensorRT for RTX; without a GPU builds alone

This Python has PyTorch, exports, and times PyTorch's own kernels; --python-trt is one with TensorRT, which may have no
PyTorch, and builds, judges and times plans. Exports and builds run beside each other, what is timed runs alone. Every
row is written the moment that it is known: a run that is killed leaves what it has, and run again it goes on. What
there was no time for is listed. FOLDER keeps rows, bundles and logs; FOLDER/gpu_check.tar, or --archive, holds
everything worth carrying home in less than 16 MiB. Results go to benchmarks/results/tensorrt.json and docs/gpu.md.

Exit code 0: everything that was reached passed; 1: something did not, or no plan was judged; 3: there is no GPU.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

import tensorrt_page
from code_hash import code_hash
from gpu import work
from gpu.archive import NAME, Archive
from gpu.document import Setting, by_reason, is_measured
from gpu.drive import Drive, forget_failed
from gpu.estimates import Estimates
from gpu.processes import Processes, alone_in, python_of
from gpu.rows import read_rows, write_json
from gpu.schedule import Schedule
from tensorrt_page import PAGE, RESULTS

from attn2trt.engines.environment import NO_DEVICE
from attn2trt.engines.tensorrt.flavours import RTX
from attn2trt.engines.tensorrt.targets import parse_targets
from attn2trt.engines.tensorrt.versions import TACTICS
from attn2trt.errors import Attn2trtError, InputError, MissingRequirement

STEP = Path(__file__).with_name("gpu_step.py")
ROOMS = ("export", "engines", "validate", "modules")
PROBE_SECONDS = 120
INTERRUPTED = 130


def probe(python: str, targets: str | None) -> dict[str, Any]:
    """What a Python has. Raises MissingRequirement if attn2trt does not work in it."""
    command = [python, str(STEP), "--probe", *_targets(targets)]
    try:
        ran = subprocess.run(command, capture_output=True, text=True, timeout=PROBE_SECONDS, check=False)
        return dict(json.loads(ran.stdout))
    except (OSError, subprocess.TimeoutExpired) as error:
        reason = str(error)
    except ValueError:
        reason = next(iter(ran.stderr.strip().splitlines()[::-1]), f"exit code {ran.returncode}")
    raise MissingRequirement(f"attn2trt does not work in {python} ({reason[:200]}); install it there") from None


def probe_both(python: str, targets: str | None) -> dict[str, Any]:
    """What the Python with TensorRT has; ``versions`` are of both Pythons. Raises what ``probe`` raises."""
    found = probe(python, targets)
    return {**found, "versions": {"tensorrt": found["versions"], "pytorch": probe(sys.executable, None)["versions"]}}


def choose_steps(arguments: argparse.Namespace, found: Mapping[str, Any]) -> tuple[list[work.Step], dict[str, str]]:
    """The steps of this run, and why some of them cannot be done on this machine."""
    steps = work.steps()
    if arguments.export:
        return [step for step in steps if step.kind == "export"], {}
    impossible = {}
    for step in steps:
        if found["problem"] and step.kind not in work.WITHOUT_GPU:
            impossible[step.name] = found["problem"]
        elif arguments.targets and step.kind == "plain":
            impossible[step.name] = f"{found['title']} takes a graph's precisions as they are and chooses none"
    return steps, impossible


def keep(archive: Archive, found: Mapping[str, Any]) -> None:
    """Put the document in its place in the repository once a GPU has said something, and refresh the archive."""
    if is_measured(found):
        write_json(RESULTS, found)
        partial = PAGE.with_name(f".{PAGE.name}.partial-{os.getpid()}")
        partial.write_text(tensorrt_page.page(dict(found)), encoding="utf-8")
        partial.replace(PAGE)
    archive.refresh()


def main(arguments: argparse.Namespace) -> int:
    """Do one run; returns the exit code."""
    deadline = time.monotonic() + 60 * arguments.minutes
    python = python_of(arguments.python_trt)
    if arguments.targets is not None and not parse_targets(arguments.targets, RTX):
        raise InputError(f"received --for {arguments.targets}; expected a compute capability to build for; name one")
    found = {"problem": ""} if arguments.export else probe_both(python, arguments.targets)
    if not arguments.export and found["status"] != "usable":
        raise MissingRequirement(f"{found['title']} is {found['status']} ({found['detail']}); {found['fix']}")
    with alone_in(arguments.folder):
        ended = run(arguments, python, found, deadline)
    print_left(ended)
    if found["problem"]:
        raise MissingRequirement(f"{found['problem']}, so that nothing was run; {NO_DEVICE}")
    return 0 if all_passed(ended, exports_alone=arguments.export) else 1


def run(arguments: argparse.Namespace, python: str, found: Mapping[str, Any], deadline: float) -> dict[str, Any]:
    """Do the steps until the deadline; returns the document."""
    folder: Path = arguments.folder
    setting = Setting(
        sources=code_hash(ROOMS),
        flavour=found.get("flavour", ""),
        tensorrt=found.get("tensorrt", ""),
        devices=tuple(found.get("devices", ())),
        driver=found.get("driver", ""),
        targets=arguments.targets,
        without_tactics=tuple(arguments.without_tactics),
        versions={}
        if arguments.export
        else {"tensorrt": found["versions"], "pytorch": probe(sys.executable, None)["versions"]},
    )
    steps, impossible = choose_steps(arguments, found)
    by_name = {step.name: step for step in steps}
    before = read_rows(folder)
    of_now = {
        name: row for name, row in before.items() if name in by_name and row["setting"] == mark(setting, by_name[name])
    }
    rows = forget_failed(folder, of_now) if arguments.again else of_now
    slots: dict[work.Pool, int] = {"export": arguments.exports, "build": arguments.jobs}
    schedule = Schedule(steps, rows, slots, Estimates(before, by_name))
    for name, why in impossible.items():
        schedule.give_up([name], why)
    archive = Archive(folder, arguments.archive or folder / NAME)
    drive = Drive(
        folder=folder,
        steps=by_name,
        schedule=schedule,
        setting=setting,
        marks=lambda step: mark(setting, step),
        run={"minutes": arguments.minutes, "jobs": arguments.jobs},
        name="exports.json" if arguments.export else "results.json",
        deadline=deadline,
        keep=lambda document: keep(archive, document),
        report=lambda line: print(line, flush=True),
    )

    def command(step: work.Step) -> list[str]:
        chosen = sys.executable if step.kind in work.WITH_PYTORCH else python
        tactics = [word for name in arguments.without_tactics for word in ("--without-tactics", name)]
        words = ["--step", step.name, "--setting", mark(setting, step), "--since", str(time.monotonic())]
        return [chosen, str(STEP), str(folder), *words, *_targets(arguments.targets), *tactics]

    def environment(step: work.Step) -> dict[str, str]:
        # PyTorch keeps the kernels that it has chosen where the process that times them finds them.
        kept = {"TORCHINDUCTOR_CACHE_DIR": str(folder.resolve() / "inductor")}
        threads = str(max(1, (os.cpu_count() or 1) // arguments.exports))
        return {**kept, "OMP_NUM_THREADS": threads} if step.kind == "export" else kept

    with Processes(folder, command, environment) as processes:
        return drive.go(processes)


def mark(setting: Setting, step: work.Step) -> str:
    """A hash of what a step's row depends on: an export depends on the code alone."""
    facts = {"sources": setting.sources} if step.kind == "export" else vars(setting)
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]


def print_left(found: Mapping[str, Any]) -> None:
    """List what was not reached, with the reasons."""
    for why, names in by_reason(found["not_reached"]).items():
        print(f"not reached: {', '.join(names)}: {why}")


def all_passed(found: Mapping[str, Any], *, exports_alone: bool) -> bool:
    """Whether everything of ours that was reached passed, and something was."""
    judged = found["exports"] if exports_alone else found["rows"]
    rows = (*found["exports"], *found["rows"])
    return bool(judged) and all(row["status"] == "done" and row["passed"] for row in rows)


def _targets(targets: str | None) -> list[str]:
    return ["--for", targets] if targets else []


def parse(words: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line; exit code 2 for what is wrong in it."""
    cores = os.cpu_count() or 1
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="keeps everything, for the next run, too")
    parser.add_argument("--minutes", type=_minutes, required=True, metavar="N", help="the time that this run may take")
    parser.add_argument("--python-trt", metavar="PYTHON", help="a Python with TensorRT (default: this one)")
    parser.add_argument("--export", action="store_true", help="export alone")
    parser.add_argument("--for", dest="targets", metavar="LIST", help="build with TensorRT for RTX, for sm86,sm89")
    parser.add_argument("--without-tactics", action="append", default=[], choices=TACTICS)
    parser.add_argument("--jobs", type=_count, default=max(1, cores // 2), metavar="N", help="builds at once")
    parser.add_argument("--exports", type=_count, default=max(1, cores // 4), metavar="N", help="exports at once")
    parser.add_argument("--archive", type=Path, metavar="FILE", help=f"default: FOLDER/{NAME}")
    parser.add_argument("--again", action="store_true", help="do steps that failed once more")
    return parser.parse_args(words)


def _minutes(text: str) -> float:
    minutes = float(text)
    if not 0 < minutes < math.inf:
        raise ValueError
    return minutes


def _count(text: str) -> int:
    count = int(text)
    if count < 1:
        raise ValueError
    return count


def start() -> NoReturn:
    """Do what the command line asks for, and exit."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        sys.exit(main(parse()))
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(INTERRUPTED)
    except Attn2trtError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)


if __name__ == "__main__":
    start()
