"""Messages between this process and a worker's: a JSON header on one line, then the bytes that it announces."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import IO, Any

from .. import errors
from ..errors import Attn2trtError, CheckFailed, place

Message = tuple[dict[str, Any], bytes]


def send(stream: IO[bytes], header: Mapping[str, Any], payload: bytes = b"") -> None:
    """Write one message."""
    stream.write(json.dumps({**header, "bytes": len(payload)}).encode() + b"\n")
    stream.write(payload)
    stream.flush()


def receive(stream: IO[bytes]) -> Message | None:
    """Read one message; None if the other side has closed the stream or died within one."""
    line = stream.readline()
    if not line.endswith(b"\n"):
        return None
    header = json.loads(line)
    announced = header.pop("bytes")
    payload = stream.read(announced)
    return (header, payload) if len(payload) == announced else None


def claim_stdout() -> int:
    """Return a descriptor of the former stdout; descriptor 1 becomes stderr.

    Whatever writes to stdout by itself, as native code or a child, does not mix with the answers.
    """
    kept = os.dup(1)
    os.dup2(2, 1)
    return kept


def failure(error: Exception) -> Mapping[str, Any]:
    """Return the header that reports an error to the parent; one of ours, or of the system, keeps its type."""
    kind = type(error).__name__ if isinstance(error, Attn2trtError) else ""
    text = str(error) if kind else f"{type(error).__name__}: {error}"
    header = {"error": " ".join(text.split()), "kind": kind}
    if isinstance(error, OSError) and error.errno is not None:
        return {**header, "system": [error.errno, str(error.strerror), place(error)]}
    return header


def raise_failure(header: Mapping[str, Any]) -> None:
    """Raise the error that ``failure`` reports; CheckFailed for one that is neither ours nor the system's.

    Other headers do nothing.
    """
    if "system" in header:
        raise OSError(*header["system"])
    if "error" in header:
        kind = getattr(errors, header["kind"], CheckFailed) if header["kind"] else CheckFailed
        raise kind(header["error"])
