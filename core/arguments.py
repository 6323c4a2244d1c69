"""Arguments from Python that are of another kind than a function takes."""

from __future__ import annotations

from ..errors import InputError, one_line


def require_kind(value: object, kind: type | tuple[type, ...], name: str, example: str) -> None:
    """Raise InputError, with an ``example`` of what is expected, unless the argument ``name`` is of this kind."""
    if not isinstance(value, kind):
        raise InputError(f"received {name}={one_line(repr(value), 80)}; expected {example}; correct it")
