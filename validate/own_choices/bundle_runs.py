"""Runs of a bundle's graph with given choices, tied to the truth that the bundle recorded."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace

from ...core.bundle import Bundle
from ...core.operators import QUANTISERS
from ...core.precision import CAST, FP32, PRECISIONS
from ..arrays import Array
from ..cases import Case
from ..choice import Choice
from ..comparison import compare
from ..metrics import Reference
from ..onnx_reference.isolated import IsolatedEvaluator
from ..onnx_reference.references import GraphLower
from ..onnx_reference.rounding import half_rounding
from .graph_choices import ChoosingNode, Picked
from .graph_runs import GraphRuns
from .judge import OwnChoices
from .pairing import NotComparable, paired
from .runs import GivenChoices, GivenReferences


@dataclass(frozen=True)
class BundleRuns(GraphRuns):
    """The graph of a bundle, whose float64 stands for the recorded truth's once it was held against it.

    With the choices that were recorded the graph must compute, in float64, what was recorded, to the last element.
    Then it is what gives the truth with other choices.

    Args:
        recorded: The recorded truth of each case, by its name.
    """

    recorded: Mapping[str, Reference] = field(default_factory=dict)

    @property
    def source(self) -> str:
        """Whose float64 the truth is."""
        return next(iter(self.recorded.values())).source

    def choices(self, case: Case) -> list[Choice]:
        """Return the recorded choices in the order of the graph.

        Raises NotComparable if the graph is not what was recorded.
        """
        recorded = self.recorded[case.name]
        if recorded.no_float64:
            raise NotComparable(f"float64 could not run case {case.name}")
        own = super().choices(case)
        levels = {number: _picked(one) for number, one in enumerate(own) if one.grid is not None}
        if not recorded.choices:  # rounding changes none of them: the graph's own are those of the recorded truth
            self._hold(case, GivenChoices(levels, {}), recorded)
            return own
        among = [one for one in own if one.grid is None]
        shown = [Picked(ChoosingNode(one.operator, "", one.line), one.scores, _picked(one)) for one in among]
        pairs = paired(shown, recorded.choices)
        stand_for = {one.node.places: recorded.choices[number] for number, one in pairs.items()}
        places = {number: _picked(stand_for[one.line]) for number, one in enumerate(own) if one.grid is None}
        self._hold(case, GivenChoices(levels | places, {}), recorded)
        # by the graph's names in every case, since not every case has recorded ones
        return [
            one
            if one.grid is not None
            else replace(stand_for[one.line], operator=one.operator, line=one.line, scores=one.scores)
            for one in own
        ]

    def _hold(self, case: Case, given: GivenChoices, recorded: Reference) -> None:
        """Raise NotComparable if the graph's float64 with the recorded choices is not the recorded truth."""
        found = GivenReferences(self).reference(case, given, FP32)
        for name, truth in recorded.outputs64.items():
            if name not in found.outputs64:
                raise NotComparable(f"the graph has no output {name}")
            one = compare(name, found.outputs64[name], truth, found.floors[name], recorded.largest, budget=math.inf)
            if not one.passed:
                raise NotComparable(f"in float64 the graph's {name} is not what was recorded: {one.detail}")


@contextmanager
def bundle_choices(
    bundle: Bundle, pairs: Iterable[tuple[Case, Reference]], max_error: float | None
) -> Iterator[OwnChoices]:
    """Judge stages of a bundle with the choices of their graphs, for as long as the evaluators run.

    Args:
        bundle: The bundle.
        pairs: The recorded cases with their truth.
        max_error: Replaces the precisions' budgets.
    """
    with ExitStack() as stack:
        cases, references = zip(*pairs, strict=True)
        double, single = (
            stack.enter_context(IsolatedEvaluator(bundle.model_path, dtype)) for dtype in ("float64", "float32")
        )
        recorded = {case.name: reference for case, reference in zip(cases, references, strict=True)}
        runs = BundleRuns(double, single, lower=_lower(bundle), recorded=recorded, rounds=bundle.has_own_levels)
        yield OwnChoices(runs, cases, max_error)


def _lower(bundle: Bundle) -> list[GraphLower]:
    """Return what the half precisions of a bundle lose: every node rounds that was not kept in float32.

    If the bundle has levels of its own, that is what is lost between them.
    """
    import onnx

    nodes = onnx.load(str(bundle.model_path), load_external_data=False).graph.node
    found = []
    for precision in bundle.precisions:
        half = PRECISIONS[precision].rest if bundle.has_own_levels else precision
        if half in CAST:
            kept = bundle.precisions[precision]["float32"]
            names = [node.name for node in nodes if node.name not in kept and node.op_type not in QUANTISERS]
            found.append(GraphLower(half, half_rounding(names, CAST[half], io=bundle.io(precision))))
    return found


def _picked(choice: Choice) -> Array:
    assert choice.picked is not None
    return choice.picked
