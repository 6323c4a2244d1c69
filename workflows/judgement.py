"""The judge of a model's graphs: every stage on every case, and what the bundle records of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..core.graph import ModelGraph
from ..core.manifest import REFERENCE
from ..core.progress import StageTimes
from ..engines.tensorrt.flavours import RTX, TENSORRT
from ..errors import ModuleRefused, PrecisionRefused, one_line
from ..export.precision import LowPrecisionGraph
from ..validate.cases import Case
from ..validate.hidden import Hidden
from ..validate.metrics import GRAPH, PYTORCH
from ..validate.own_choices import OwnChoices
from ..validate.recorded import from_tensors, to_tensors
from ..validate.stages.build import BuildStages
from ..validate.stages.graphs import GraphStages, JudgedGraph, Locate, judged_graphs, locate_module, locate_node
from ..validate.stages.judge import Pairs
from ..validate.stages.stage import EXPORTED, WRITTEN, Stage, lower_stages
from ..validate.stages.tensorrt import without_plan
from ..validate.verdict import StageResult, Verdict, not_checked, refused
from .options import Judging
from .truths import Lowered, Truth, Truths

if TYPE_CHECKING:
    from torch import nn

    from ..validate.metrics import Reference

EXPORT_ONLY = "export only; attn2trt deploy checks it"


@dataclass(frozen=True)
class Judgement:
    """A verdict on a model's graph and on those below it, with the cases that it was reached on.

    Attributes:
        lowered: The graphs of lower precisions, by precision.
        verdict: Every stage's result.
        cases: The manifest's entries of the cases that were recorded.
        cases_left_out: The names of the cases that were not.
        hidden: Sentences about what the verdict could not see, found when they are asked for.
        own_levels: The levels of a quantised graph are those of the module.
        no_truth: The reason why a case has no truth; "" if all have.
    """

    lowered: Lowered
    verdict: Verdict
    cases: list[dict[str, Any]]
    cases_left_out: list[str]
    hidden: Callable[[], list[str]]
    own_levels: bool = False
    no_truth: str = ""


Judge = Callable[[Lowered], Judgement]


@dataclass(frozen=True)
class GraphJudge:
    """Judges the graph of a model together with graphs below it; each call replaces what was recorded before.

    Attributes:
        model: The graph.
        truth: What it is held against.
        cases: The inputs that are judged.
        folder: The bundle's, for the recorded cases.
        judging: The way in which the verdict is reached.
        stages: The runtimes of the graphs.
        times: Takes the seconds of each step.
        builds: The builds of TensorRT for RTX, if they belong to the verdict.
        module: What the graph was made of, if anybody knows.
        exported: The runtime of the stage that judges the graph as it was exported.
    """

    model: ModelGraph
    truth: Truth
    cases: Sequence[Case]
    folder: Path
    judging: Judging
    stages: GraphStages
    times: StageTimes
    builds: BuildStages | None = None
    module: nn.Module | None = None
    exported: str = EXPORTED

    def __call__(self, lowered: Lowered) -> Judgement:
        """Return the verdict on every graph."""
        graphs = {name: low.graph for name, low in lowered.items()}
        judged = judged_graphs(self.model, graphs, self.exported, on_levels=self.truth.own_levels)
        if self.judging.verdict:
            self.stages.open(judged)
            if self.builds is not None:
                self.builds.open(self.module, {self.model.graph.precision: self.model.graph, **graphs})
        hidden = Hidden()
        truths, runs = self.truth.open(self.cases, lowered, hidden)
        self.times.start("reference", "computing the float64 reference and judging every stage against it")
        path, reasons = self.folder / REFERENCE, list[str]()
        cases, left_out = record(self.stages.watch(_noting(truths, reasons)), path)
        own_choices = cache(partial(OwnChoices, runs, self.cases, self.judging.max_error))
        results = self._results(judged, partial(from_tensors, path, cases), own_choices)
        source = GRAPH if self.truth.module is None else PYTORCH
        verdict = Verdict(tuple(results), self.judging.allow_float32_truth, source)
        hidden.compare_whole(verdict.is_whole)
        sentences = partial(self._hidden, hidden)
        return Judgement(lowered, verdict, cases, left_out, sentences, self.truth.own_levels, next(iter(reasons), ""))

    def _results(
        self, judged: Sequence[JudgedGraph], pairs: Pairs, own_choices: Callable[[], OwnChoices]
    ) -> list[StageResult]:
        """Return the result of every stage, those of TensorRT last."""
        own, why_not = self.model.graph.precision, self.model.why_not_simplified
        if self.judging.verdict:
            results = self.stages.results(pairs, own_choices, self._locate())
        else:
            results = [not_checked(stage, EXPORT_ONLY) for one in judged for stage in one.stages]
        if why_not:
            why = f"the graph is deployed as it was exported: {why_not}"
            results.insert(1, not_checked(Stage(WRITTEN, own), why if self.judging.verdict else EXPORT_ONLY))
        return [*results, *self._of_tensorrt()]

    def _of_tensorrt(self) -> list[StageResult]:
        if self.builds is None:
            return []
        if not self.judging.verdict:
            return [not_checked(Stage(flavour.name, ""), EXPORT_ONLY) for flavour in (RTX, TENSORRT)]
        self.times.start("tensorrt", "building plans with TensorRT for RTX")
        return [without_plan(), *self.builds.results()]

    def _locate(self) -> Locate:
        if self.module is not None:
            return locate_module(self.module, self.cases)
        return locate_node(self.model.exported.path, None if self.truth.own_levels else self.truth.module)

    def _hidden(self, hidden: Hidden) -> list[str]:
        module = self.truth.module
        return [*(hidden.of_graph() if module is None else hidden.findings(module)), *self.stages.still()]


def judge_each(write: Callable[[str], LowPrecisionGraph], precisions: Sequence[str], judge: Judge) -> Judgement:
    """Write a graph of each precision, and judge them all; what is refused of one keeps no other from its verdict.

    It is a stage of the verdict instead, which says why, and which keeps that from being a pass.
    """
    lowered: dict[str, LowPrecisionGraph] = {}
    why_not: dict[str, str] = {}
    for precision in precisions:
        try:
            lowered[precision] = write(precision)
        except ModuleRefused as error:
            why_not[precision] = str(error)
    while True:
        try:
            judgement = judge(lowered)
        except PrecisionRefused as error:  # by what PyTorch computes in it
            why_not[error.precision] = str(error)
            del lowered[error.precision]
        else:
            break
    stages = (refused(lower_stages(precision)[0], why) for precision, why in why_not.items())
    verdict = replace(judgement.verdict, stages=(*judgement.verdict.stages, *stages))
    return replace(judgement, verdict=verdict)


def record(pairs: Iterable[tuple[Case, Reference]], path: Path) -> tuple[list[dict[str, Any]], list[str]]:
    """Write cases with their references to a file; return the manifest's entries, and the names of those left out."""
    from safetensors.numpy import save_file

    tensors, cases, left_out = to_tensors(pairs)
    save_file(tensors, str(path))
    return cases, left_out


def _noting(truths: Truths, reasons: list[str]) -> Truths:
    """Pass on every pair, and note why a case has no truth."""
    for case, reference in truths:
        if isinstance(reference, Exception):
            reasons.append(one_line(reference, None))
        yield case, reference
