"""The child process of isolated.py: one plan, fed from stdin until that ends."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from ...core.channel import failure
from ...core.tensor_spec import TensorSpec
from ...errors import CheckFailed
from ..channel import send
from ..child import answers, serve
from ..runtime import Arrays
from .plans import Plan
from .runtime import TensorRTRuntime

KERNELS, LAYERS = "kernel cache", "layers"


def main(plan: str, about: str) -> None:
    """Answer every message until the parent closes the channel."""
    stream = answers()
    try:
        loaded = open_described(Path(plan), about)
    except Exception as error:
        send(stream, failure(error))
        return
    send(stream, {"name": loaded.name})
    serve(
        loaded, stream, more={KERNELS: lambda: _bytes(KERNELS, loaded.kernel_cache()), LAYERS: lambda: layers(loaded)}
    )


def layers(loaded: TensorRTRuntime) -> Arrays:
    """Answer what the inspector says of a plan, as UTF-8."""
    return _bytes(LAYERS, loaded.layers().encode())


def _bytes(name: str, content: bytes) -> Arrays:
    return {name: np.frombuffer(content, np.uint8)}


def open_described(plan: Path, about: str, *, graphed: bool = False, profiled: bool = False) -> TensorRTRuntime:
    """Open the plan of a file, with what ``isolated.checked`` says of it.

    The file is read once: the bytes that are hashed are the ones that TensorRT gets. Raises CheckFailed if they are
    not the ones that the manifest lists.
    """
    described = json.loads(about)
    known = Plan.from_json(described["plan"])
    content = plan.read_bytes() if plan.is_file() else b""
    if hashlib.sha256(content).hexdigest() != described["sha256"]:
        raise CheckFailed(f"{plan} is not the file that the manifest lists; run `attn2trt compile` again")
    return TensorRTRuntime(
        content,
        inputs=[TensorSpec.from_json(entry) for entry in described["inputs"]],
        outputs=[TensorSpec.from_json(entry) for entry in described["outputs"]],
        profiles=known.profiles,
        version_compatible=bool(known.flags.get("version_compatible")),
        log=Path(os.devnull),
        graphed=graphed,
        profiled=profiled,
        flavour=known.product,
        kernel_cache=_read_listed(described.get("kernel_cache")),
    )


def _read_listed(listed: Mapping[str, str] | None) -> bytes:
    """The file's bytes if their hash is the manifest's; nothing otherwise: the kernels are then compiled again."""
    if listed is None:
        return b""
    try:
        found = Path(listed["file"]).read_bytes()
    except OSError:
        return b""
    return found if hashlib.sha256(found).hexdigest() == listed["sha256"] else b""
