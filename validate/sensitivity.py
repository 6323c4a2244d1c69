"""The loss of a precision below float32, in the whole model or in one module alone, measured by PyTorch.

It takes no graph: the floors of the verdict are measured on a few ordinary cases.
"""

from __future__ import annotations

import bisect
import copy
import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from .arrays import Array, Float64
from .calibration_inputs import ORDINARY
from .cases import Case
from .eager import Eager, Outputs
from .lower import Lower
from .metrics import measure
from .overflow import Overflows, overflowing
from .slices import ENOUGH, Slice

if TYPE_CHECKING:
    from torch import nn

# The most cases that decide which graphs are worth writing; the verdict judges every case.
MOST_CASES = 4


class LayerSensitivity:
    """The errors of lower precisions against float64, which is computed once for each case: relative L2, or ``of`` a
    few slices what they lose of their variation.

    Args:
        module: Left as it is.
        cases: Of those with ordinary values, the few with the fewest elements are measured.
        output_names: The names of the module's outputs.
        seed: Set before each run, for modules that draw random numbers.
    """

    def __init__(self, module: nn.Module, cases: Sequence[Case], output_names: Sequence[str], seed: int) -> None:
        self.output_names = tuple(output_names)
        self._all = {case.name: case for case in cases}
        ordinary = [case for case in cases if case.kind in ORDINARY]
        self._cases = sorted(ordinary, key=lambda case: math.prod(case.sizes.values()))[:MOST_CASES]
        self._single, self._double = (Eager(module, output_names, seed, is_double=double) for double in (False, True))
        self._single.follow_modules()
        self._truths: list[Outputs] = []
        self._slices: tuple[Slice, ...] = ()

    def of(self, slices: Iterable[Slice]) -> LayerSensitivity:
        """Return the same for the share of its variation that the worst of these slices loses: the deviation of its
        error over its own, over all elements measured."""
        found = copy.copy(self)
        found._slices = tuple(slices)
        return found

    def whole(self, lower: Lower) -> float:
        """Return the largest error of any output on any of the cases; infinite if a number overflows."""
        return self._error(range(len(self._cases)), lower)

    def of_each(self, lower: Lower, modules: Mapping[str, Sequence[str]]) -> dict[str, float]:
        """Return, by module path, the error on the smallest case if that module alone computes in the lower precision.

        The members that ``modules`` gives it compute in it too. If a slice has too few elements in the smallest case
        to vary, it is measured on all cases.
        """
        few = range(min(len(self._cases), 1))
        if any(self._of_truth(number, part).size < ENOUGH for number in few for part in self._slices):
            few = range(len(self._cases))
        return {path: self._error(few, lower.only(members)) for path, members in modules.items()}

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

    def _error(self, numbers: Sequence[int], lower: Lower) -> float:
        with np.errstate(over="ignore", invalid="ignore"):
            if not self._slices:
                return max((self._relative(number, lower) for number in numbers), default=0.0)
            runs = [(number, self._run(number, lower)) for number in numbers]
            return max(
                _share_lost(
                    [_elements(found[part.output], part) for _, found in runs],
                    [self._of_truth(number, part) for number, _ in runs],
                )
                for part in self._slices
            )

    def _relative(self, number: int, lower: Lower) -> float:
        truth, found = self._truth(number), self._run(number, lower)
        # against zeros every relative error is infinite, and the verdict compares in another way
        return max((measure(found[name], true).l2 for name, true in truth.items() if true.any()), default=0.0)

    def _run(self, number: int, lower: Lower) -> Outputs:
        self._truth(number)  # it ranks scores
        return self._single.run_lower(self._cases[number].feeds, self._cases[number], lower, lower.draws[0])

    def _truth(self, number: int) -> Outputs:
        while len(self._truths) <= number:
            case = self._cases[len(self._truths)]
            self._truths.append(self._double.run(case.feeds, case, watched=False))
            self._single.ranks |= self._double.ranks
        return self._truths[number]

    def _of_truth(self, number: int, part: Slice) -> Float64:
        return _elements(self._truth(number)[part.output], part)


def _elements(values: Array, part: Slice) -> Float64:
    found: Float64 = values.take(part.at, part.axis).astype(np.float64).ravel()
    return found


def _share_lost(found: Sequence[Float64], truth: Sequence[Float64]) -> float:
    """Return the deviation of the error over that of the truth; what does not vary loses nothing."""
    values, true = np.concatenate(found), np.concatenate(truth)
    counted = np.isfinite(true)
    varies, error = true[counted].std() if counted.any() else 0.0, values[counted] - true[counted]
    if not np.isfinite(error).all():
        return math.inf
    return float(error.std() / varies) if varies else 0.0
