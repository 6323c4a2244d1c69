"""The known name that is most like an unknown one, as errors name it."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


def nearest(name: str, known: Iterable[str]) -> str:
    """Return `` (nearest: X)`` for the known name that is most like this one; "" if none is."""
    found = get_close_matches(name, list(known), n=1)
    return f" (nearest: {found[0]})" if found else ""
