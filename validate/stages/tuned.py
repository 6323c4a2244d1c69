"""A bundle's tuned graph, judged as every other runtime is."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ...core.bundle import MODEL, Bundle
from ...core.tensor_spec import TensorSpec
from ...engines.isolated import IsolatedRuntime
from ...errors import CheckFailed, MissingRequirement
from ..cases import Case
from ..metamorphic import metamorphic
from ..verdict import StageResult, judge_all
from .graphs import STAGE_ORT, not_loaded

if TYPE_CHECKING:
    from ..metrics import Reference

STAGE_TUNED = f"{STAGE_ORT}, tuned"
Pairs = Callable[[], Iterator[tuple[Case, "Reference"]]]


def tuned_stages(bundle: Bundle, pairs: Pairs, *, max_error: float | None = None) -> list[StageResult]:
    """The comparison with the recorded outputs, and the one between the rows of a batch; none without such a graph.

    A graph that was made from another one has failed.
    """
    entry = bundle.tuned
    if entry is None:
        return []
    if entry.get("graph") != bundle.manifest["files"][MODEL]["sha256"]:
        return [StageResult(STAGE_TUNED, "failed", f"{entry['file']} was made from another graph; tune again")]
    return judge_tuned(bundle.path / str(entry["file"]), bundle.outputs, pairs, max_error=max_error)


def judge_tuned(
    graph: Path, outputs: Sequence[TensorSpec], pairs: Pairs, *, max_error: float | None = None
) -> list[StageResult]:
    """The same two stages for a graph file."""
    with IsolatedRuntime(graph, optimise=True) as runtime:
        try:
            runtime.load()
        except (CheckFailed, MissingRequirement) as error:
            return [not_loaded(STAGE_TUNED, error)]
        (judged,) = judge_all({STAGE_TUNED: runtime.run}, pairs(), max_error=max_error, declared=outputs)
        return [judged, metamorphic(runtime.run, pairs(), stage=f"{STAGE_TUNED}, rows")]
