"""One run of gpu_tune.py: the two Pythons that do its steps, and where results go."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path
from typing import Any

import gpu_tune_page

from attn2trt.core.precision import INT8_FP16
from attn2trt.engines.tensorrt.device import NO_DEVICE
from attn2trt.engines.tensorrt.versions import read_version
from attn2trt.errors import MissingRequirement

from . import tune_work
from .check import ROOMS, Check, Found
from .document import Setting
from .estimates import AtOnce, Estimates
from .processes import LOGS
from .rows import FOLDER as ROWS
from .rows import Row
from .tune_work import WITH_PYTORCH, TuneStep
from .user_plans import FIRST_MIXED
from .work import Step

TOOL = Path(__file__).parents[1] / "gpu_tune.py"
NAME = "gpu_tune.tar"
METHOD = (
    "plans made for the one batch that is timed, and PyTorch's kernels, built several at a time on one GPU; builds are "
    "stopped while something is timed; every plan is checked on a recorded case first, no verdict on all cases is "
    "asked for; plans of a case and batch are timed in turn as CUDA graphs by the GPU's own clock, then PyTorch's"
)
# The most wanted first. The caches hold the kernels that were timed: a run that is given them builds in a fraction.
PATTERNS = (
    "*.json",
    f"{ROWS}/[!.]*.json",
    f"{LOGS}/*.log",
    "plans/*/*/*/plans/*.layers.json",
    "plain/*.layers.json",
    "plans/*/*/*/plans/*.cache",
    "plans/*/*/*/plans/*.log",
    "plain/*.log",
    "bundles/*/bundle.json",
)
FIRST_STRONGLY_TYPED = "11.0"
# What a row holds for the next steps alone.
INNER = ("plans", "setting", "plan", "layers", "tail")


@dataclass(frozen=True)
class TuneSetting(Setting):
    """The conditions of a run, with the builder's optimization level; None is TensorRT's own."""

    level: int | None = None


class TuneRun(Check):
    """A run with these arguments; ``python`` is the one with TensorRT."""

    rooms = (*ROOMS, "workflows")
    page, archive, patterns = gpu_tune_page, NAME, PATTERNS

    def __init__(self, arguments: argparse.Namespace, python: str) -> None:
        super().__init__(arguments, python)
        self.slots = {"export": arguments.exports, "held": arguments.jobs}

    def _steps(self) -> list[Step]:
        return [*tune_work.steps()]

    def _impossible(self, steps: Sequence[Step], found: Found) -> dict[str, str]:
        here = read_version(found["tensorrt"])
        mixed, strongly = read_version(FIRST_MIXED), read_version(FIRST_STRONGLY_TYPED)
        impossible = super()._impossible(steps, found)
        for step in steps:
            assert isinstance(step, TuneStep)
            if here and mixed and step.precision == INT8_FP16 and here < mixed:
                impossible[step.name] = f"TensorRT {found['tensorrt']} reads no graph in {INT8_FP16}; {mixed} does"
            if here and strongly and step.does == "plain" and here >= strongly:
                impossible[step.name] = f"TensorRT {found['tensorrt']} takes precisions as they are and chooses none"
        return impossible

    def _probed(self) -> Found:
        found = super()._probed()
        if found["problem"]:
            raise MissingRequirement(f"plans are timed on a GPU by TensorRT: {found['problem']}; {NO_DEVICE}")
        return found

    def _setting_of(self, found: Found) -> Setting:
        known = super()._setting_of(found)
        return TuneSetting(**vars(known), level=self._arguments.level)

    def _estimates(self, before: Mapping[str, Row], steps: Mapping[str, Step]) -> Estimates:
        return AtOnce(before, steps)

    def _document(
        self, run: Mapping[str, Any], steps: Mapping[str, Step], rows: Mapping[str, Row], left: Mapping[str, str]
    ) -> Found:
        known = [{key: rows[name][key] for key in rows[name] if key not in INNER} for name in steps if name in rows]
        return {
            "date": date.today().isoformat(),
            "method": METHOD,
            **asdict(self._setting),
            **run,
            "rows": known,
            "not_reached": dict(left),
        }

    def _command(self, step: Step) -> list[str]:
        assert isinstance(step, TuneStep)
        arguments = self._arguments
        python = sys.executable if step.does in WITH_PYTORCH else self._python
        words = ["--minutes", str(arguments.minutes), "--step", step.name, "--setting", self._setting.mark(step)]
        words += ["--since", str(time.monotonic()), "--build-seconds", str(arguments.build_seconds)]
        words += ["--level", str(arguments.level)] if arguments.level is not None else []
        words += ["--timing-caches", str(arguments.timing_caches)] if arguments.timing_caches else []
        return [python, str(TOOL), str(self._folder), *words, *self._tactics()]

    def _environment(self, step: Step) -> dict[str, str]:
        found = super()._environment(step)
        # of what computes on the CPU while others build; an export has its threads already
        return {"OMP_NUM_THREADS": str(max(1, (os.cpu_count() or 1) // 4)), **found}
