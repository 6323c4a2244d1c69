"""The known names that are most like an unknown one, as errors suggest them."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import SequenceMatcher, get_close_matches

MOST = 3  # names that a message suggests


def nearest(name: str, names: Iterable[str], otherwise: str) -> str:
    """Return ``did you mean b?`` for a message, or ``otherwise`` if nothing is near."""
    close = nearest_names(name, names)
    return f"did you mean {' or '.join(close)}?" if close else otherwise


def nearest_names(name: str, names: Iterable[str]) -> list[str]:
    """Return the known names that may be meant, at most ``MOST`` spellings, the likeliest first.

    A name of the same letters is meant alone: two of them changed places, or their capitals differ. Of several such
    names the most alike are. Else those that begin with ``name``, or end with it behind a dot, come before those that
    are alike as a whole.
    """

    def likeness(known: str) -> float:
        return SequenceMatcher(None, name, known).ratio()

    spelt: dict[str, list[str]] = {}
    for known in names:
        spelt.setdefault(known.lower(), []).append(known)
    text = name.lower()
    same = {known: SequenceMatcher(None, text, known).ratio() for known in spelt if sorted(known) == sorted(text)}
    near = [known for known in same if same[known] == max(same.values())]
    if not near:
        parts = [known for known in spelt if text and (known.startswith(text) or known.endswith(f".{text}"))]
        near = [*parts, *(known for known in get_close_matches(text, spelt, n=MOST, cutoff=0.6) if known not in parts)]
    return [known for lower in near[:MOST] for known in sorted(spelt[lower], key=likeness, reverse=True)]
