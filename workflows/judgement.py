"""The judge of a model's graphs: every stage on every case, and what the bundle records of them."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..core.graph import ModelGraph
from ..core.manifest import REFERENCE
from ..core.precision import FP32, QUANTISED
from ..core.progress import StageTimes
from ..export.precision import LowPrecisionGraph
from ..validate.cases import Case
from ..validate.hidden import Hidden
from ..validate.recorded import from_tensors, to_tensors
from ..validate.stages.build import BuildStages
from ..validate.stages.graphs import NoStages, Stages
from ..validate.verdict import Verdict
from .options import Judging
from .precision import floor_of, floor_of_own

if TYPE_CHECKING:
    from torch import nn

    from ..validate.eager import Lower
    from ..validate.metrics import Reference
    from ..validate.own_choices import OwnChoices

Lowered = Mapping[str, LowPrecisionGraph]  # graphs below float32, by precision


@dataclass(frozen=True)
class Judgement:
    """A verdict on the float32 graph and on those below it, with the cases that it was reached on.

    Attributes:
        lowered: The graphs below float32, by precision.
        verdict: Every stage's result.
        cases: The manifest's entries of the cases that were recorded.
        cases_left_out: The names of the cases that were not.
        hidden: Sentences about what the verdict could not see, found when they are asked for.
        own_levels: The levels of a quantised graph are those of the module.
    """

    lowered: Lowered
    verdict: Verdict
    cases: list[dict[str, Any]]
    cases_left_out: list[str]
    hidden: Callable[[], list[str]]
    own_levels: bool = False


Judge = Callable[[Lowered], Judgement]


@dataclass(frozen=True)
class GraphJudge:
    """Judges the float32 graph of a module together with graphs below it; each call replaces what was recorded before.

    Attributes:
        module: What the graphs were made of.
        model: The float32 graph.
        cases: What they are run on.
        seed: Draws the noise of the floors.
        folder: The bundle's, for the recorded cases.
        judging: The way in which the verdict is reached.
        stages: The runtimes of the graphs.
        builds: The builds of TensorRT for RTX.
        times: Takes the seconds of each step.
    """

    module: nn.Module
    model: ModelGraph
    cases: Sequence[Case]
    seed: int
    folder: Path
    judging: Judging
    stages: Stages | NoStages
    builds: BuildStages
    times: StageTimes

    def __call__(self, lowered: Lowered) -> Judgement:
        """Return the verdict on every graph."""
        hidden = Hidden()
        model, graphs = self.model, {name: low.graph for name, low in lowered.items()}
        self.stages.open(self.module, self.cases, model, graphs)
        if self.judging.verdict:
            self.builds.open(self.module, {model.graph.precision: model.graph, **graphs})
        references = self._references(hidden, lowered.values())
        self.times.start("reference", "computing the float64 reference and judging every stage against it")
        cases, left_out = record(self.stages.watch(references), self.folder / REFERENCE)
        own_choices = functools.cache(partial(self._own_choices, lowered.values()))
        verdict = self.stages.verdict(from_tensors(self.folder / REFERENCE, cases), own_choices)
        hidden.compare_whole(verdict.is_whole)
        if self.judging.verdict:
            self.times.start("tensorrt", "building plans with TensorRT for RTX")
            verdict = Verdict((*verdict.stages, *self.builds.results()))
        verdict = replace(verdict, allows_float32=self.judging.allow_float32_truth)
        sentences = partial(self._hidden, hidden)
        return Judgement(lowered, verdict, cases, left_out, sentences, model.graph.precision in QUANTISED)

    def _hidden(self, hidden: Hidden) -> list[str]:
        return [*hidden.findings(self.module), *self.stages.still()]

    def _references(self, hidden: Hidden, lowered: Iterable[LowPrecisionGraph]) -> Iterator[tuple[Case, Reference]]:
        from ..validate.reference import references

        lower = self._lower(lowered)
        found = references(self.module, self.cases, self._names, seed=self.seed, hidden=hidden, lower=lower)
        return zip(self.cases, found, strict=True)

    def _own_choices(self, lowered: Iterable[LowPrecisionGraph]) -> OwnChoices:
        from ..validate.own_choices import OwnChoices
        from ..validate.own_choices.module_runs import ModuleRuns

        runs = ModuleRuns(self.module, self._names, self.seed, self._lower(lowered))
        return OwnChoices(runs, self.cases, self.judging.max_error)

    def _lower(self, lowered: Iterable[LowPrecisionGraph]) -> list[Lower]:
        """Return what every precision loses, that of the module itself among them."""
        own = [floor_of_own(self.model.graph.precision)] if self.model.graph.precision != FP32 else []
        return [*own, *(floor_of(low) for low in lowered)]

    @property
    def _names(self) -> list[str]:
        return [spec.name for spec in self.model.graph.outputs]


def record(pairs: Iterable[tuple[Case, Reference]], path: Path) -> tuple[list[dict[str, Any]], list[str]]:
    """Write cases with their references to a file; return the manifest's entries, and the names of those left out."""
    from safetensors.numpy import save_file

    tensors, cases, left_out = to_tensors(pairs)
    save_file(tensors, str(path))
    return cases, left_out
