"""Errors that a model's weights hide from the verdict: gates that never move, branches that are multiplied by zero.

A freshly made network computes the same whatever goes wrong behind a gamma of zero, and a gate whose weights are all
zero stands at 0.5 for every input. Such weights are the user's to choose; the verdict states that they prove little.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from .reached import Reached

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from torch import Tensor, nn

    from ..core.tensor_spec import TensorSpec

SHIFTS = ("bias", "beta", "shift")


@dataclass
class Hidden:
    """Filled while the float64 reference runs.

    ``reached`` knows what the cases did not reach in a module; ``in_graph`` has the sentences of a graph.
    """

    reached: Reached = field(default_factory=Reached)
    in_graph: list[str] = field(default_factory=list)
    picks: dict[tuple[str, str, str], tuple[int, int]] = field(default_factory=dict)
    compared: dict[tuple[str, str, str], tuple[int, int]] = field(default_factory=dict)
    left_out: dict[tuple[str, str], float] = field(default_factory=dict)
    moved: dict[tuple[str, str], float] = field(default_factory=dict)

    def choose(self, precision: str, picks: Mapping[tuple[str, str], tuple[int, int]]) -> None:
        """Note how many picks of each choice a lower precision can change: (operator, line) -> (those, all of them)."""
        _keep_larger(self.picks, precision, picks)

    def compare(self, precision: str, compared: Mapping[tuple[str, str], tuple[int, int]]) -> None:
        """Note how many comparisons with a threshold rounding can change, as ``choose`` does."""
        _keep_larger(self.compared, precision, compared)

    def leave_out(self, precision: str, shares: Mapping[str, float]) -> None:
        """Note the share of each float output that is not judged, since a choice between near ties decides it."""
        for name, share in shares.items():
            self.left_out[precision, name] = max(share, self.left_out.get((precision, name), 0.0))

    def move(self, precision: str, name: str, share: float) -> None:
        """Note the share of an output of whole numbers that rounding decides, if it is most of one."""
        self.moved[precision, name] = max(share, self.moved.get((precision, name), 0.0))

    def compare_whole(self, is_whole: Callable[[str], bool]) -> None:
        """Forget what was left out in the precisions, named in words, that were compared whole after all."""
        self.left_out = {key: share for key, share in self.left_out.items() if not is_whole(key[0])}

    def findings(self, module: nn.Module) -> list[str]:
        """Return one sentence for everything that hides errors."""
        return [
            *_not_finite(module),
            *self.reached.findings(),
            *self.choices(),
            *_zeroed(module),
            *_untrained(module),
            *_unknown(module),
        ]

    def of_graph(self) -> list[str]:
        """Return one sentence for everything that hides errors in a graph that no module is known of."""
        return [*self.in_graph, *self.choices()]

    def choices(self) -> list[str]:
        """Return one sentence for every choice that a precision can move, and for every output not judged whole."""
        return [*self._loose_picks(), *self._close_comparisons(), *self._left_out(), *self._moved()]

    def _loose_picks(self) -> list[str]:
        return [
            f"{operator}{f' at {line}' if line else ''} can pick otherwise in {precision} for {loose} of {count}, "
            "whose scores it cannot tell from the next: what is gathered by them then differs"
            for (precision, operator, line), (loose, count) in self.picks.items()
        ]

    def _close_comparisons(self) -> list[str]:
        return [
            f"{operator}{f' at {line}' if line else ''} can go the other way in {precision} for {loose} of {count}, "
            "which lie within its rounding of what they are compared with"
            for (precision, operator, line), (loose, count) in self.compared.items()
        ]

    def _left_out(self) -> list[str]:
        return [
            f"{name}: up to {share:.2%} of a case's elements are not judged in {precision}: a choice between scores "
            "that it cannot tell apart decides them"
            for (precision, name), share in self.left_out.items()
        ]

    def _moved(self) -> list[str]:
        return [
            f"{name}: {precision}'s rounding decides up to {share:.2%} of a case's whole numbers: they are compared by "
            "how far it moves them, not one by one"
            for (precision, name), share in self.moved.items()
        ]


def _keep_larger(
    known: dict[tuple[str, str, str], tuple[int, int]], precision: str, found: Mapping[tuple[str, str], tuple[int, int]]
) -> None:
    """Keep of each place the counts, (those, all of them), whose share is the largest."""
    for (operator, line), (loose, count) in found.items():
        before = known.get((precision, operator, line), (0, 1))
        if loose / count > before[0] / before[1]:
            known[precision, operator, line] = (loose, count)


def still_inputs(inputs: Iterable[TensorSpec]) -> list[str]:
    """Return one sentence for every input of a single value, as a mask has whose example is all ones."""
    return [
        f"{spec.name} is {spec.low} in every case, the one number of its range: no other was checked; give a range, as "
        f"the shape {spec.name}=SIZES:{spec.dtype}[0,1]"
        for spec in inputs
        if spec.low is not None and spec.low == spec.high
    ]


def _not_finite(module: nn.Module) -> list[str]:
    """Return a sentence for weights that are not finite and for buffers with NaN: infinity in these may be a mask."""
    wrong = {name: ~tensor.isfinite() for name, tensor in module.named_parameters() if _has_odd_ends(tensor)}
    buffers = module.named_buffers()
    wrong |= {name: tensor.isnan() for name, tensor in buffers if tensor.is_floating_point() and _has_odd_ends(tensor)}
    return [
        f"{name} has {int(found.sum())} of {found.numel()} numbers that are not finite: what they reach is not checked"
        for name, found in wrong.items()
        if bool(found.any())
    ]


def _has_odd_ends(tensor: Tensor) -> bool:
    """Return True if the smallest or largest number is not finite. Nothing is copied: weights may be large."""
    parts = (tensor.real, tensor.imag) if tensor.is_complex() else (tensor,)
    return bool(tensor.numel()) and not all(bool(end.isfinite()) for part in parts for end in part.detach().aminmax())


def _zeroed(module: nn.Module) -> list[str]:
    return [
        f"{name} is all zeros: what it multiplies was not checked"
        for name, parameter in module.named_parameters()
        if parameter.numel() and not name.endswith(SHIFTS) and not bool(parameter.any())
    ]


def _untrained(module: nn.Module) -> list[str]:
    fresh, count = 0, 0
    for part in module.modules():
        mean, variance = getattr(part, "running_mean", None), getattr(part, "running_var", None)
        if mean is not None and variance is not None:
            count += 1
            fresh += not bool(mean.any()) and bool((variance == 1).all())
    if not fresh:
        return []
    return [
        f"{fresh} of {count} batch normalisations still hold mean 0 and variance 1: a mistake in them would hardly show"
    ]


def _unknown(module: nn.Module) -> list[str]:
    from ..modules.unregistered import unregistered

    count = Counter(path for path, _ in unregistered(module))
    return [
        f"{path} keeps {number} modules in a plain list or dict: no checkpoint and no eval() reaches them; "
        "use nn.ModuleList or nn.ModuleDict"
        for path, number in count.items()
    ]
