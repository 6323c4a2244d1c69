"""The numbers above which a module's activations cut off, as the 6 of a ReLU6."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from .cases import Case
from .eager import Eager
from .operator_mode import operator_mode

if TYPE_CHECKING:
    from torch import nn

CUTTING = frozenset(["hardtanh", "hardtanh_", "clamp", "clamp_", "clamp_max", "clamp_max_"])


def activation_ends(module: nn.Module, case: Case, seed: int = 0) -> list[float]:
    """Return the upper ends that operators of ``module`` are given as numbers in a run on ``case``, in order."""
    found = set[float]()

    def call(func: Any, args: Any, kwargs: Any) -> Any:
        if func.overloadpacket.__name__ in CUTTING:
            given = [one for one in (*args[1:], *kwargs.values()) if isinstance(one, (int, float))]
            found.update(float(one) for one in given if 0 < one < math.inf)
        return func(*args, **kwargs)

    Eager(module, [], seed, is_double=False).run_within(case, lambda: operator_mode(call))
    return sorted(found)
