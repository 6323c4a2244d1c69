"""The loss of a precision below float32, in the whole model or in one module alone, measured by PyTorch.

It takes no graph: the floors of the verdict are measured on a few ordinary cases.
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from .calibration_inputs import ORDINARY
from .cases import Case
from .eager import Eager, Outputs
from .lower import Lower
from .metrics import measure
from .overflow import Overflows, overflowing

if TYPE_CHECKING:
    from torch import nn

# The most cases that decide which graphs are worth writing; the verdict judges every case.
MOST_CASES = 4


class LayerSensitivity:
    """The relative L2 errors of lower precisions against float64, which is computed once for each case.

    Args:
        module: Left as it is.
        cases: Of those with ordinary values, the few with the fewest elements are measured.
        output_names: The names of the module's outputs.
        seed: Set before each run, for modules that draw random numbers.
    """

    def __init__(self, module: nn.Module, cases: Sequence[Case], output_names: Sequence[str], seed: int) -> None:
        self._all = {case.name: case for case in cases}
        ordinary = [case for case in cases if case.kind in ORDINARY]
        self._cases = sorted(ordinary, key=lambda case: math.prod(case.sizes.values()))[:MOST_CASES]
        self._single, self._double = (Eager(module, output_names, seed, is_double=double) for double in (False, True))
        self._single.follow_modules()
        self._truths: list[Outputs] = []

    def whole(self, lower: Lower) -> float:
        """Return the largest error of any output on any of the cases; infinite if a number overflows."""
        return max((self._lost(number, lower) for number in range(len(self._cases))), default=0.0)

    def of_each(self, lower: Lower, modules: Mapping[str, Sequence[str]]) -> dict[str, float]:
        """Return, by module path, the error on the smallest case if that module alone computes in the lower precision.

        The members that ``modules`` gives it compute in it too.
        """
        return {path: self._lost(0, lower.only(members)) if self._cases else 0.0 for path, members in modules.items()}

    def without(self, lower: Lower, modules: Mapping[str, Sequence[str]], kept: Sequence[str]) -> float:
        """Return what ``whole`` does if those ``kept`` of the ``modules``, with their members, stay in float32."""
        return self.whole(lower.without([member for path in kept for member in modules[path]]))

    def fewest_kept(
        self, lower: Lower, modules: Mapping[str, Sequence[str]], order: Sequence[str], budget: float
    ) -> int:
        """Return the smallest number of modules, at least one, the first of the ``order``, to keep in float32 for the
        ``budget``; one more than there are if it is not kept with all of them."""

        def keeps_budget(count: int) -> bool:
            return self.without(lower, modules, order[:count]) <= budget

        return bisect.bisect_left(range(len(order) + 1), True, lo=1, key=keeps_budget)

    def overflowing(self, lower: Lower, names: Collection[str]) -> Overflows:
        """Return what overflows on the cases of these names, the modules in the order of the smallest of them."""
        found = Overflows()
        for case in sorted((self._all[name] for name in names), key=lambda case: math.prod(case.sizes.values())):
            more = overflowing(self._single, case, lower.without(found.paths) if found.paths else lower)
            found = Overflows(found.paths + more.paths, found.own or more.own)
        return found

    def _lost(self, number: int, lower: Lower) -> float:
        case = self._cases[number]
        feeds = case.feeds
        if number == len(self._truths):
            self._truths.append(self._double.run(feeds, case, watched=False))
            self._single.ranks |= self._double.ranks
        truth = self._truths[number]
        with np.errstate(over="ignore", invalid="ignore"):
            found = self._single.run_lower(feeds, case, lower, lower.draws[0])
            # against zeros every relative error is infinite, and the verdict compares in another way
            return max((measure(found[name], true).l2 for name, true in truth.items() if true.any()), default=0.0)
