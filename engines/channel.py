"""Messages with arrays between this process and a worker's. Arrays travel as safetensors: plain data, never pickle."""

from __future__ import annotations

from collections.abc import Mapping
from typing import IO, Any

import numpy as np
from safetensors.numpy import load, save

from ..core import channel
from .runtime import Arrays


def packed(arrays: Arrays | None) -> bytes:
    """Return the bytes that stand for the arrays, none for None."""
    # np.array and not ascontiguousarray, which would make a scalar one-dimensional
    return b"" if arrays is None else save({name: np.array(value, order="C") for name, value in arrays.items()})


def send(stream: IO[bytes], header: Mapping[str, Any], arrays: Arrays | None = None) -> None:
    """Write one message."""
    channel.send(stream, header, packed(arrays))


def receive(stream: IO[bytes]) -> tuple[dict[str, Any], Arrays] | None:
    """Read one message; None if the other side has closed the stream or died within one."""
    message = channel.receive(stream)
    return None if message is None else unpacked(*message)


def unpacked(header: dict[str, Any], payload: bytes) -> tuple[dict[str, Any], Arrays]:
    """Return a message with the arrays that ``packed`` made bytes of."""
    return header, load(payload) if payload else {}
