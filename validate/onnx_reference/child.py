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
from .evaluator import Evaluator
from .rounding import Rounding
from .selections import FAR, PLACES, Choices, Given, Moved, to_arrays

_HOW = ("shown", "draw", "as_written", "rounds", "is_plain", "ends", "moves_levels")


def main(options: str) -> None:
    """Answer every message with the values of a run, until the parent closes the channel."""
    stream = answers()
    given = json.loads(options)
    try:
        evaluator = Evaluator(Path(given["path"]), given["dtype"])
    except Exception as error:
        send(stream, failure(error))
        return
    send(stream, {"name": f"ONNX's reference evaluator, {given['dtype']}", "output_names": evaluator.outputs})

    def answer(header: Mapping[str, Any], arrays: Arrays) -> tuple[Mapping[str, Any], Arrays]:
        rounding = None if header["rounding"] is None else Rounding(**header["rounding"])
        how = {name: header[name] for name in _HOW}
        allowed = [arrays.pop(FAR.format(number)) for number in range(header["moves"])]
        places = {line: arrays.pop(PLACES.format(line)) for line in header["given"]}
        notes_levels = bool(header["rounds"])
        noted = (
            Given(places, header["kept"], notes_levels=notes_levels) if places else Choices(notes_levels=notes_levels)
        )
        around = noted if header["moved"] is None else Moved(allowed, header["moved"])
        is_watched = header["notes_choices"] or header["moved"] is not None
        outputs = evaluator.run(arrays, rounding=rounding, around=around if is_watched else None, **how)
        choices, found = to_arrays(noted.found)
        return {"largest": repr(evaluator.largest), "choices": choices}, outputs | found

    answer_each(answer, stream)
