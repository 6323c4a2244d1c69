"""The program of isolated.py's child process: one graph in one type, run for every message until stdin ends."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ...core.channel import failure
from ...engines.channel import send
from ...engines.child import answer_each, answers
from ..arrays import Arrays
from ..reached import Reached
from .evaluator import Evaluator
from .run_options import RunOptions
from .selections import FAR, PLACES, Choices, Given, Moved, to_arrays


class Answering:
    """A graph in ``dtype`` that is run for every message; ``about`` is what its parent is told of it."""

    def __init__(self, path: str, dtype: str) -> None:
        self._evaluator = Evaluator(Path(path), dtype)
        self._reached = Reached()
        self.about = {"name": f"ONNX's reference evaluator, {dtype}", "output_names": self._evaluator.outputs}

    def answer(self, header: Mapping[str, Any], arrays: Arrays) -> tuple[Mapping[str, Any], Arrays]:
        """Return the values of a run, and what it noted."""
        options = RunOptions.from_json(header["options"])
        allowed = [arrays.pop(FAR.format(number)) for number in range(header["moves"])]
        places = {line: arrays.pop(PLACES.format(line)) for line in header["given"]}
        levels = options.rounds
        noted = Given(places, header["kept"], notes_levels=levels) if places else Choices(notes_levels=levels)
        around = noted if header["moved"] is None else Moved(allowed, header["moved"])
        is_watched = header["notes_choices"] or header["moved"] is not None
        is_free = header["notes_choices"] and header["moved"] is None and not places
        outputs = self._evaluator.run(
            arrays,
            options,
            shown=header["shown"],
            around=around if is_watched else None,
            reached=self._reached if is_free else None,
        )
        choices, found = to_arrays(noted.found)
        unreached = self._reached.findings() if is_free else []
        return {"largest": repr(self._evaluator.largest), "choices": choices, "unreached": unreached}, outputs | found


def main(options: str) -> None:
    """Answer every message with the values of a run, until the parent closes the channel."""
    stream = answers()
    try:
        answering = Answering(**json.loads(options))
    except Exception as error:
        send(stream, failure(error))
        return
    send(stream, answering.about)
    answer_each(answering.answer, stream)
