"""Sizes by which the user's Python looks something up: ``table[h, w]``, or by their text, ``table.get(f"{h}x{w}")``.

A traced size has no number to write or to hash: it gives its symbol, which no table has, and nothing asks what the
table has for other sizes. Every such line is noted, but for those whose text only people read: of errors, warnings and
logs. What a module stores by a traced size, as a table that it computes once, is removed again.
"""

from __future__ import annotations

import gc
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


class AsKey(Unproven):
    """A line that looks a size up in a table: what it has for other sizes is not known."""

    def __str__(self) -> str:
        return f"nothing depends on a key of {' and '.join(self.axes)}"


class SizeTexts:
    """While active, notes the lines of the user's at which a traced size becomes a text or a key."""

    def __init__(self) -> None:
        self._noted: dict[str, set[sympy.Symbol]] = {}
        self._keys: dict[str, set[sympy.Symbol]] = {}
        self._hashed: list[torch.SymInt] = []
        self._saved: dict[str, Any] = {}

    def __enter__(self) -> SizeTexts:
        for name in _WRITERS:
            self._saved[name] = vars(torch.SymInt).get(name)
            setattr(torch.SymInt, name, self._noting(getattr(torch.SymInt, name)))
        self._saved["__hash__"] = torch.SymInt.__hash__
        torch.SymInt.__hash__ = self._hashing(torch.SymInt.__hash__)  # type: ignore[method-assign]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for name, original in self._saved.items():
            if original is None:
                delattr(torch.SymInt, name)
            else:
                setattr(torch.SymInt, name, original)
        _forget(self._hashed)

    def _hashing(self, original: Any) -> Any:
        def hashed(size: torch.SymInt) -> int:
            frame = sys._getframe(1)
            place = frame.f_code.co_filename, frame.f_lineno
            if size.node.is_nested_int():
                return int(original(size))
            if is_users(place[0]):  # torch looks through what a module holds
                self._keys.setdefault(describe(*place), set()).update(size.node.expr.free_symbols)
                self._hashed.append(size)
            return hash((id(size.node.shape_env), size.node.expr))

        return hashed

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
        for kind, noted in ((AsText, self._noted), (AsKey, self._keys)):
            for line, symbols in noted.items():
                dimensions = [names[symbol] for symbol in symbols if symbol in names]
                if dimensions:
                    found.append(kind(over(dimensions), line, at=tuple(sizes.items())))
        return found


def _forget(sizes: list[torch.SymInt]) -> None:
    """Remove what dicts hold by these sizes, or by tuples of them, and empty the list."""
    keys: dict[int, Any] = {id(size): size for size in sizes}
    latest: list[Any] = list(sizes)
    while latest:
        around = (one for one in gc.get_referrers(*latest) if isinstance(one, tuple))
        latest = [one for one in around if id(one) not in keys]
        keys.update((id(one), one) for one in latest)
    for table in gc.get_referrers(*keys.values()) if keys else ():
        if isinstance(table, dict) and any(id(key) in keys for key in table):
            # not by lookup: their hash is another one now
            kept = [(key, value) for key, value in table.items() if id(key) not in keys]
            table.clear()
            table.update(kept)
    sizes.clear()
