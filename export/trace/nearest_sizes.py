"""Resizing by nearest, whose pixels PyTorch and ONNX find by other products: at some sizes they pick others.

The pixel of place ``i`` is ``floor(i * in / out)``. PyTorch multiplies by ``in / out``, ONNX Runtime divides by
``out / in``, both in float32. Where ``i * in / out`` is a whole number, one of them may be just below it: two pixels
made 82 high are not the same. No error, the right shape, one row of the image another one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import sympy  # type: ignore[import-untyped]
import torch

from ...modules.user_line import line_of, traced_frames
from .guards import Guard
from .size_values import size_at


@dataclass(frozen=True)
class SamePixels(Guard):
    """A side of an image that is resized by nearest. ``condition`` holds its size and the one that it becomes."""

    @property
    def settles(self) -> bool:
        """No: the trace resizes as PyTorch does."""
        return False

    def holds(self, sizes: Mapping[str, int]) -> bool:
        """Return True if both pick the same pixels at these sizes."""
        before, after = (size_at(size, sizes) for size in self.condition.args)
        return before is None or after is None or before < 1 or after < 1 or picks_same(int(before), int(after))

    def __str__(self) -> str:
        before, after = self.condition.args
        return f"nearest picks the same pixels from {before} to {after}"


@lru_cache(maxsize=1 << 16)
def picks_same(before: int, after: int) -> bool:
    """Return True if ONNX Runtime picks the pixels that PyTorch picks in float64, of ``before`` pixels ``after``."""
    places = np.arange(after, dtype=np.float32)
    pixels = torch.arange(before, dtype=torch.float64).reshape(1, 1, 1, before)
    ours = torch.nn.functional.interpolate(pixels, size=(1, after), mode="nearest").reshape(-1).numpy()
    theirs = np.floor(places / (np.float32(after) / np.float32(before))).clip(0, before - 1)
    return bool(np.array_equal(ours, theirs))


def nearest_sizes(program: torch.export.ExportedProgram, names: Mapping[sympy.Symbol, sympy.Symbol]) -> Iterator[Guard]:
    """Yield a guard for every side that the program resizes by nearest to a size, with the line that does it.

    ``names`` are the axes by their symbols.
    """
    for node in program.graph.nodes:
        if not str(node.target).startswith("aten.upsample_nearest") or not _has_size(node.args):
            continue
        before, after = (_sides(value) for value in (node.args[0], node))
        for pair in zip(before, after, strict=True):
            sizes = sympy.Tuple(*(_expression(size).xreplace(names) for size in pair))
            if sizes.free_symbols and sizes.free_symbols <= {*names.values()}:
                yield SamePixels(sizes, line_of(traced_frames(node)))


def _has_size(args: Sequence[Any]) -> bool:
    """Return True if an image is resized to a size: to a factor, both multiply by it as it is given."""
    return len(args) > 1 and args[1] is not None


def _sides(node: torch.fx.Node) -> Sequence[Any]:
    found: Sequence[Any] = node.meta["val"].shape[2:]
    return found


def _expression(size: Any) -> sympy.Basic:
    return size.node.expr if isinstance(size, torch.SymInt) else sympy.Integer(size)
