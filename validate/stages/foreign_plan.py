"""The stages of a plan that somebody else built: its outputs, the rows of a batch, and the precision of its layers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from ...core.tensor_spec import TensorSpec
from ...engines.tensorrt.layers import computed, in_words, read_layers
from ...engines.tensorrt.profiles import Profile, is_held
from ...errors import CheckFailed
from ..cases import Case
from ..verdict import StageResult, not_checked
from .judge import Pairs, Runtime, StageJudge
from .layer_precision import judge_layers
from .stage import LAYERS, Stage

if TYPE_CHECKING:
    from ..metrics import Reference

OUTSIDE = "no case lies inside of the plan's profiles; give the sizes that it was built for with --dynamic or --shape"


class Plan(Runtime, Protocol):
    """A plan that is loaded: it runs, and knows its ranges."""

    @property
    def profiles(self) -> Sequence[Profile]: ...


def judge_foreign(
    plan: Plan, stage: Stage, pairs: Pairs, declared: Sequence[TensorSpec], *, max_error: float | None = None
) -> list[StageResult]:
    """Judge a plan on the cases inside of its profiles, then the rows of a batch.

    Args:
        plan: The plan.
        stage: Its flavour, and the precision whose floors it is held to.
        pairs: Cases with their references.
        declared: The outputs of the graph that it was built from.
        max_error: Replaces the precision's budget.
    """

    def inside() -> Iterator[tuple[Case, Reference]]:
        return (pair for pair in pairs() if is_held(plan.profiles, pair[0].sizes))

    judge = StageJudge(stage, plan, max_error, declared, is_here=True, without_cases=OUTSIDE)
    return judge.results(inside)


def outside(plan: Plan, pairs: Pairs) -> list[str]:
    """Return the names of the cases that lie in no profile of the plan."""
    return [case.name for case, _ in pairs() if not is_held(plan.profiles, case.sizes)]


def judge_foreign_layers(stage: Stage, text: Callable[[], str], graph: Path, *, is_asked: bool) -> StageResult:
    """Return the stage of the precision of a plan's layers.

    Without a precision that was asked for there is nothing to hold the layers to: the stage is not checked, and says
    what the inspector tells.

    Args:
        stage: The flavour and the precision.
        text: Asks the inspector for its document.
        graph: The graph that has the precision.
        is_asked: The precision was asked for; else it was read off the layers.
    """
    stage = replace(stage, kind=LAYERS)
    try:
        document = text()
        if is_asked:
            return judge_layers(stage, document, graph, {})
        counted = in_words(computed(read_layers(document)))
    except ValueError as error:
        return not_checked(stage, f"{error}; a plan that is built with detailed profiling verbosity tells more")
    except CheckFailed as error:
        return not_checked(stage, str(error))
    return not_checked(stage, f"by the inspector {counted}; --precision holds the layers to one")
