"""The child process of foreign_plan.py: the plan of somebody else, deserialised because its user trusts it."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

from ...core.channel import failure
from ...core.tensor_spec import TensorSpec
from ...errors import CheckFailed
from ..channel import send
from ..child import answers, serve
from .flavours import FLAVOURS
from .runtime import TensorRTRuntime
from .runtime_child import LAYERS, layers


def main(plan: str, about: str) -> None:
    """Answer every message until the parent closes the channel."""
    stream = answers()
    try:
        loaded = open_foreign(Path(plan), about)
    except Exception as error:
        send(stream, failure(error))
        return
    profiles = [{name: [axis.min, axis.opt, axis.max] for name, axis in one.axes.items()} for one in loaded.profiles]
    send(stream, {"name": loaded.name, "profiles": profiles, "types": loaded.types()})
    serve(loaded, stream, more={LAYERS: lambda: layers(loaded)})


def open_foreign(plan: Path, about: str) -> TensorRTRuntime:
    """Open the plan of a file, with what ``foreign_plan`` says of it.

    The file is read once. Raises CheckFailed if it is not the one whose header was read.
    """
    described = json.loads(about)
    plugin = described.get("plugin")
    content = plan.read_bytes()
    if hashlib.sha256(content).hexdigest() != described["sha256"]:
        raise CheckFailed(f"{plan} changed while the command ran; run it again")
    return TensorRTRuntime(
        content,
        inputs=[TensorSpec.from_json(entry) for entry in described["inputs"]],
        outputs=[TensorSpec.from_json(entry) for entry in described["outputs"]],
        profiles=None,
        # a plan that carries a runtime of its own runs it: the user said that they trust the file
        version_compatible=True,
        log=Path(os.devnull),
        flavour=FLAVOURS[described["flavour"]],
        plugin=None if plugin is None else (Path(plugin["path"]), plugin["sha256"]),
    )
