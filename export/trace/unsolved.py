"""Keep torch from solving a trace's guards for the sizes.

torch.export words its own errors by what it finds, and nothing else: sizes that are left to it (``Dim.AUTO``) become
what they become. ``narrowing`` judges the same guards by evaluating them. sympy takes long, and raises for a guard that
it cannot solve, such as ``h // 8 * 8 == h`` behind another division (YOLOv9 at multiples of 32).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch.fx.experimental.symbolic_shapes import DimConstraints


@contextmanager
def unsolved() -> Iterator[None]:
    """While active, torch.export leaves the equations of sizes alone."""
    constraints: Any = DimConstraints
    solve, constraints.solve = constraints.solve, lambda _: None
    try:
        yield
    finally:
        constraints.solve = solve
