"""A backend of ``torch.compile`` that must not be used."""

from __future__ import annotations


def no_compiler(*_: object) -> object:
    """Stand for a compiler where nothing may be compiled."""
    raise AssertionError("it was compiled")
