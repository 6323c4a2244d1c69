"""Lists of operators, written as one text."""

from __future__ import annotations


def named(operators: str) -> frozenset[str]:
    """The names, apart at spaces and line ends."""
    return frozenset(operators.split())
