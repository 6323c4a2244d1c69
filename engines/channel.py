"""How isolated.py and its child process talk: a JSON header on one line, then the arrays that it announces.

Arrays travel as safetensors: plain data, never pickle.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import IO, Any

import numpy as np
from safetensors.numpy import load, save

from .runtime import Arrays


def send(stream: IO[bytes], header: Mapping[str, Any], arrays: Arrays | None = None) -> None:
    """Write one message."""
    # np.array and not ascontiguousarray, which would make a scalar one-dimensional
    payload = b"" if arrays is None else save({name: np.array(value, order="C") for name, value in arrays.items()})
    stream.write(json.dumps({**header, "bytes": len(payload)}).encode() + b"\n")
    stream.write(payload)
    stream.flush()


def receive(stream: IO[bytes]) -> tuple[dict[str, Any], Arrays] | None:
    """Read one message; None where the other side has closed the stream or died within one."""
    line = stream.readline()
    if not line.endswith(b"\n"):
        return None
    header = json.loads(line)
    payload = stream.read(header.pop("bytes"))
    if not payload:
        return header, {}
    try:
        return header, load(payload)
    except Exception:  # cut short
        return None
