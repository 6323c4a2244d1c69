"""Sizes that the user's Python makes a text of, as the key of a table: ``table.get(f"{h}x{w}")``.

A traced size has no number to write: it gives its symbol, which no table has, and nothing asks what the table has for
other sizes. Every such line is noted, but for those whose text only people read: of errors, warnings and logs.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from types import TracebackType
from typing import Any

import sympy  # type: ignore[import-untyped]
import torch

from ...modules.user_line import describe, is_users
from .for_people import is_read_by_people
from .guards import Guard
from .unproven import Unproven, over

_WRITERS = ("__repr__", "__str__", "__format__")


class AsText(Unproven):
    """A line that makes a text of sizes: what a table has for other texts is not known."""

    def __str__(self) -> str:
        return f"nothing depends on a text of {' and '.join(self.axes)}"


class SizeTexts:
    """While active, notes the lines of the user's at which a traced size becomes a text."""

    def __init__(self) -> None:
        self._noted: dict[str, set[sympy.Symbol]] = {}
        self._saved: dict[str, Any] = {}

    def __enter__(self) -> SizeTexts:
        for name in _WRITERS:
            self._saved[name] = vars(torch.SymInt).get(name)
            setattr(torch.SymInt, name, self._noting(getattr(torch.SymInt, name)))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for name, original in self._saved.items():
            if original is None:
                delattr(torch.SymInt, name)
            else:
                setattr(torch.SymInt, name, original)

    def _noting(self, original: Any) -> Any:
        def write(size: torch.SymInt, *how: str) -> str:
            frame = sys._getframe(1)
            place = frame.f_code.co_filename, frame.f_lineno
            if is_users(place[0]) and not is_read_by_people(*place):
                self._noted.setdefault(describe(*place), set()).update(size.node.expr.free_symbols)
            return str(original(size, *how))

        return write

    def guards(self, names: Mapping[sympy.Symbol, sympy.Symbol], sizes: Mapping[str, int]) -> list[Guard]:
        """Return a guard for each line, over the axes that ``names`` has by torch's symbols, run at ``sizes``."""
        found: list[Guard] = []
        for line, symbols in self._noted.items():
            dimensions = [names[symbol] for symbol in symbols if symbol in names]
            if dimensions:
                found.append(AsText(over(dimensions), line, at=tuple(sizes.items())))
        return found
