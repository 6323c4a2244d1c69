"""The reference evaluator in a process of its own: a graph that takes all memory or never ends is an error here."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ...engines.child import ANSWER_SECONDS, Child
from ..arrays import Array, Arrays
from ..choice import Choice
from .run_options import EXACT, RunOptions
from .selections import FAR, PLACES, from_arrays

NAME = "ONNX's reference evaluator"
# OpenBLAS's threads wait by spinning: on a busy machine of two cores they made products several times slower, and
# another number of threads would round otherwise.
ONE_THREAD = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


class IsolatedEvaluator(Child):
    """``Evaluator`` behind a pipe, with the same errors; Interrupted if its process dies or does not answer in time.

    Args:
        path: The graph.
        dtype: "float64" or "float32".
        seconds: Time limit of loading and of every run.
    """

    def __init__(self, path: Path, dtype: str, *, seconds: float = ANSWER_SECONDS) -> None:
        options = json.dumps({"path": str(path), "dtype": dtype})
        super().__init__("validate.onnx_reference.child", options, who=NAME, seconds=seconds, environment=ONE_THREAD)
        self.largest = 0.0
        self.choices: list[Choice] = []
        self.unreached: list[str] = []

    def run(
        self,
        feeds: Arrays,
        options: RunOptions = EXACT,
        *,
        shown: Sequence[str] = (),
        notes_choices: bool = False,
        moved: tuple[Sequence[Array], int] | None = None,
        given: Mapping[str, Array] | None = None,
        kept: Sequence[str] = (),
    ) -> Arrays:
        """Return what ``Evaluator.run`` returns; ``largest`` is then that run's.

        ``unreached`` has a sentence for everything that no run reached whose choices were noted, none of them given.

        Levels are choices in a run whose options say ``rounds``.

        Args:
            feeds: The inputs.
            options: What the run loses.
            shown: The names of further values to return.
            notes_choices: Keep the choices of this run in ``choices``.
            moved: How far the scores of each choice are moved, in the order of the choices, and a draw.
            given: The places that choices give, by their line; the choices of such a run are noted.
            kept: The lines of quantisers whose scores are noted.
        """
        header: dict[str, Any] = {"options": options.to_json(), "shown": [*shown]}
        allowed, moved_draw = ((), None) if moved is None else moved
        notes_choices = notes_choices or given is not None
        header |= {"notes_choices": notes_choices, "moved": moved_draw, "moves": len(allowed)}
        header |= {"given": [*(given or {})], "kept": [*kept]}
        far = {FAR.format(number): one for number, one in enumerate(allowed)}
        places = {PLACES.format(line): one for line, one in (given or {}).items()}
        answer, outputs = self.ask("computing the graph", header, feeds | far | places)
        self.largest = float(answer["largest"])
        if notes_choices:
            self.choices = from_arrays(answer["choices"], outputs)
            self.unreached = answer["unreached"]
        return outputs
