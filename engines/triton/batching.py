"""The batch that Triton may put requests together in, and the reason if it may not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ...core.bundle import Bundle
from ..tensorrt.profiles import Profile


@dataclass(frozen=True)
class Batching:
    """Triton's batching of a model: ``axis`` is left out of the shapes, and holds at most ``largest`` requests.

    ``largest`` 0 leaves every shape as it is, and ``why_not`` says why. ``preferred`` are sizes that plans have a
    profile of their own for.
    """

    axis: str = ""
    largest: int = 0
    preferred: tuple[int, ...] = ()
    why_not: str = ""


def choose_batching(bundle: Bundle, profiles: Sequence[Profile]) -> Batching:
    """Return how requests for the bundle's graph, in these profiles, may be put together."""
    specs = [*bundle.inputs, *bundle.outputs]
    firsts = {spec.shape[0] if spec.shape else None for spec in specs}
    axis = next(iter(firsts)) if len(firsts) == 1 else None
    if not isinstance(axis, str) or axis not in bundle.axes:
        return Batching(why_not="inputs and outputs do not all begin with the same dynamic axis")
    if short := [spec.name for spec in specs if len(spec.shape) == 1]:
        return Batching(why_not=f"{short[0]} has no dimension but {axis}")
    if why := _why_rows_depend(bundle, axis):
        return Batching(why_not=why)
    ranges = [profile.axes[axis] for profile in profiles]
    largest = max(one.max for one in ranges)
    lacking = [size for size in range(1, largest + 1) if not any(size in one.sizes for one in ranges)]
    if lacking:
        return Batching(why_not=f"{axis} {lacking[0]} lies outside of its ranges, and Triton may send any batch")
    preferred = tuple(sorted({one.opt for one in ranges if one.opt > 1})) if len(ranges) > 1 else ()
    return Batching(axis, largest, preferred)


def _why_rows_depend(bundle: Bundle, axis: str) -> str:
    """Return why rows of different requests must not share a batch; empty if PyTorch computes each by itself."""
    names = {spec.name for spec in bundle.inputs}, {spec.name for spec in bundle.outputs}
    compared = [case for case in bundle.manifest["cases"] if case["sizes"].get(axis, 1) > 1 and case["row_outputs"]]
    whole = [case for case in compared if ({*case["row_inputs"]}, {*case["row_outputs"]}) == names]
    if compared and len(whole) == len(compared):
        return ""
    return f"no recorded case shows that the rows along {axis} do not depend on each other"
