"""The known names that are most like an unknown one, as errors suggest them."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import SequenceMatcher, get_close_matches

MOST = 3  # names that a message suggests


def nearest(name: str, names: Iterable[str], otherwise: str) -> str:
    """Return ``did you mean b?`` for a message, or ``otherwise`` if nothing is near.

    Of names that differ in capitals alone, the one nearest to ``name`` comes first. If none is alike as a whole, those
    that begin with ``name`` are meant.
    """

    def likeness(known: str) -> float:
        return SequenceMatcher(None, name, known).ratio()

    spelt: dict[str, list[str]] = {}
    for known in names:
        spelt.setdefault(known.lower(), []).append(known)
    near = get_close_matches(name.lower(), spelt, n=MOST, cutoff=0.6)
    near = near or [known for known in spelt if name and known.startswith(name.lower())][:MOST]
    close = [known for lower in near for known in sorted(spelt[lower], key=likeness, reverse=True)]
    return f"did you mean {' or '.join(close)}?" if close else otherwise
