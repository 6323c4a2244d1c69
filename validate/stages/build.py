"""Judge whether TensorRT parses and builds every deployed graph, on a machine without a GPU."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from ...core.precision import FP32
from ...core.tensor_spec import Axis, TensorSpec
from ...engines.environment import Component, probe_rtx
from ...engines.tensorrt.flavours import RTX
from ...engines.tensorrt.messages import ROOT, SEE_LOG
from ...engines.tensorrt.plan_build import PlanBuild, PlanRequest
from ...engines.tensorrt.plans import Plan
from ...engines.tensorrt.profiles import Profile
from ...engines.tensorrt.targets import NONE, name_targets, split_targets
from ...errors import CheckFailed, Interrupted, MissingRequirement
from ..verdict import FAILED, StageResult, built, not_checked
from .stage import Stage

if TYPE_CHECKING:
    from torch import nn


class Graph(Protocol):
    """A graph file with what a plan of it needs; ``modules`` has the path of each node's PyTorch module."""

    @property
    def path(self) -> Path: ...
    @property
    def inputs(self) -> tuple[TensorSpec, ...]: ...
    @property
    def axes(self) -> Mapping[str, Axis]: ...
    @property
    def modules(self) -> Mapping[str, str]: ...


@dataclass(frozen=True)
class Outcome:
    """The outcome for one graph: the stage, and the plan with its files if there is one."""

    stage: StageResult
    plan: Plan | None = None
    files: Mapping[str, str] = field(default_factory=dict)


class BuildStages:
    """Have TensorRT for RTX parse and build graphs in a bundle's ``folder``: a stage for each precision.

    ``open`` starts the first build, which runs beside whatever the caller does; ``results`` runs the others and waits.
    Without ``targets``, or on a machine without TensorRT for RTX, the one stage is not checked and says why. Use it in
    a ``with`` statement: leaving ends what still runs. Errors name the log unless it goes with the folder.
    """

    def __init__(self, folder: Path, targets: Sequence[str], *, keeps_log: bool = True) -> None:
        self._folder = folder
        self._keeps_log = keeps_log
        self._targets = tuple(targets)
        self._found = probe_rtx()
        self._outcomes: dict[str, Outcome] = {}
        self._waiting: dict[str, PlanRequest] = {}
        self._running: tuple[str, PlanBuild] | None = None

    def __enter__(self) -> BuildStages:
        return self

    def __exit__(self, *_: object) -> None:
        self._end()

    def open(self, module: nn.Module | None, graphs: Mapping[str, Graph]) -> None:
        """Take the graphs by precision; plans of others, but for the float32 one, are given up with their files.

        ``module`` is what the graphs were made of, if anybody knows.
        """
        self._end()
        for precision in [name for name in self._outcomes if name != FP32]:
            for file in self._outcomes.pop(precision).files:
                (self._folder / file).unlink(missing_ok=True)
        if self.why_not_here:
            return
        places = _Places(module)
        for precision, graph in graphs.items():
            able, _ = split_targets(self._targets, precision)
            if precision not in self._outcomes and able:
                self._waiting[precision] = self._request(precision, graph, able, places)
            elif precision not in self._outcomes:
                why = f"{name_targets(self._targets)} computes no {precision}; name another GPU with --for"
                self._outcomes[precision] = Outcome(not_checked(Stage(RTX.name, precision), why))
        self._start_next()

    def results(self) -> list[StageResult]:
        """Wait for every build; a stage for each graph, in the order in which they were given."""
        if self.why_not_here:
            return [not_checked(Stage(RTX.name, ""), self.why_not_here)]
        while self._running is not None:
            precision, building = self._running
            self._outcomes[precision] = self._outcome(precision, building)
            self._end_running()
            self._start_next()
        return [outcome.stage for outcome in self._outcomes.values()]

    @property
    def plans(self) -> list[Plan]:
        """The plans that were built."""
        return [outcome.plan for outcome in self._outcomes.values() if outcome.plan is not None]

    @property
    def files(self) -> dict[str, str]:
        """The files of the plans, and what each is."""
        return {name: role for outcome in self._outcomes.values() for name, role in outcome.files.items()}

    @property
    def why_not_here(self) -> str:
        """The reason if nothing is built at all."""
        return why_not_built(self._targets, self._found)

    def _request(self, precision: str, graph: Graph, targets: tuple[str, ...], places: _Places) -> PlanRequest:
        return PlanRequest(
            folder=self._folder,
            graph=graph.path.name,
            precision=precision,
            inputs=graph.inputs,
            profiles=(Profile(dict(graph.axes)),),
            modules={node: places.describe(path) for node, path in graph.modules.items()},
            flavour=RTX,
            targets=targets,
        )

    def _outcome(self, precision: str, building: PlanBuild) -> Outcome:
        stage = Stage(RTX.name, precision)
        try:
            plan, files = building.result()
        except MissingRequirement as error:
            return Outcome(not_checked(stage, str(error)))
        except CheckFailed as error:
            advice = f"--for {NONE} if only ONNX Runtime is wanted"
            interrupted = isinstance(error, Interrupted)
            reason = str(error) if self._keeps_log else str(error).replace(f"; {SEE_LOG}", "")
            return Outcome(StageResult(stage, FAILED, f"{reason}; {advice}", was_interrupted=interrupted))
        _, unable = split_targets(self._targets, precision)
        left_out = f"; not for {name_targets(unable)}: no {precision} there" if unable else ""
        why = f"parsed and built by {plan.built_by} for {name_targets(plan.capabilities)}; not run here{left_out}"
        return Outcome(built(stage, why), plan, files)

    def _start_next(self) -> None:
        if self._running is None and self._waiting:
            precision = next(iter(self._waiting))
            building = PlanBuild(self._waiting.pop(precision))
            building.__enter__()
            self._running = precision, building

    def _end_running(self) -> None:
        if self._running is not None:
            self._running[1].__exit__(None, None, None)
            self._running = None

    def _end(self) -> None:
        self._waiting.clear()
        self._end_running()


def why_not_built(targets: Sequence[str], found: Component) -> str:
    """Return why no graph is built by TensorRT for RTX here; empty if they are."""
    if not targets:
        return f"left out by --for {NONE}"
    if found.status == "usable":
        return ""
    return f"{RTX.title} is {found.status} here ({found.detail}); {found.fix}"


class _Places:
    """The places of modules in the user's code, in words; each class is looked up once."""

    def __init__(self, module: nn.Module | None) -> None:
        self._modules = {} if module is None else dict(module.named_modules(remove_duplicate=False))
        self._words: dict[str, str] = {}
        self._classes: dict[type, tuple[str, str]] = {}

    def describe(self, path: str) -> str:
        """``layer1.0.gate (ChannelGate at net.py:12)``; the path alone if it is no module's."""
        if path not in self._words:
            self._words[path] = "".join(self._parts(path))
        return self._words[path]

    def _parts(self, path: str) -> Iterator[str]:
        from ...modules.source_lines import class_and_line

        yield path or ROOT
        if (module := self._modules.get(path)) is not None:
            name, source = self._classes.setdefault(type(module), class_and_line(module))
            yield f" ({name} at {source})" if source else f" ({name})"
