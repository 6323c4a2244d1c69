"""What the child process of isolated.py runs: one plan, fed from stdin until that ends."""

from __future__ import annotations

import json
import os
from pathlib import Path

from ...export.bundle import spec_from_json
from ..channel import send
from ..child import failure, serve
from .plans import Plan
from .runtime import TensorRTRuntime


def main(plan: str, about: str) -> None:
    """Answer every message until the parent closes the channel."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever native code prints must not mix with the answers
    try:
        loaded = open_described(Path(plan), about)
    except Exception as error:
        send(answers, failure(error))
        return
    send(answers, {"name": loaded.name})
    serve(loaded, answers)


def open_described(plan: Path, about: str, *, graphed: bool = False) -> TensorRTRuntime:
    """The plan of a file and of what ``isolated.checked`` says of it."""
    told = json.loads(about)
    known = Plan.from_json(told["plan"])
    return TensorRTRuntime(
        plan,
        inputs=[spec_from_json(entry) for entry in told["inputs"]],
        outputs=[spec_from_json(entry) for entry in told["outputs"]],
        profiles=known.profiles,
        version_compatible=bool(known.flags.get("version_compatible")),
        log=Path(os.devnull),
        graphed=graphed,
    )
