"""Optimization profiles: the ranges of shapes for which TensorRT chooses kernels."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from ...core.tensor_spec import Axis, TensorSpec
from ...errors import InputError

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Profile:
    """One range for every dynamic axis."""

    axes: Mapping[str, Axis]

    def shapes(self, spec: TensorSpec) -> tuple[Shape, Shape, Shape]:
        """The smallest, the best and the largest shape of an input."""
        sizes = ({name: int(getattr(axis, which)) for name, axis in self.axes.items()} for which in WHICH)
        smallest, best, largest = (spec.resolve(chosen) for chosen in sizes)
        return smallest, best, largest

    def holds(self, sizes: Mapping[str, int]) -> bool:
        """Tell whether these sizes are inside of every range."""
        return all(self.axes[name].min <= size <= self.axes[name].max for name, size in sizes.items())

    def __str__(self) -> str:
        return ",".join(f"{name}={axis.min}:{axis.opt}:{axis.max}" for name, axis in self.axes.items()) or "one shape"


WHICH = ("min", "opt", "max")


def is_held(profiles: Iterable[Profile], sizes: Mapping[str, int]) -> bool:
    """Tell whether some profile holds these sizes."""
    return any(profile.holds(sizes) for profile in profiles)


def parse_profiles(texts: Sequence[str], axes: Mapping[str, Axis], *, option: str = "--profile") -> list[Profile]:
    """Profiles from ``batch=1:1:1,height=…`` each; an axis that one leaves out keeps the bundle's range.

    Without any text the bundle's own ranges are the one profile. Raises InputError for an axis that the bundle does
    not have, and for a range that leaves the bundle's: nothing was checked there. ``option`` is where they came from.
    """
    return [Profile({**axes, **_ranges(text, axes, option)}) for text in texts] or [Profile(dict(axes))]


def _ranges(text: str, axes: Mapping[str, Axis], option: str) -> dict[str, Axis]:
    found = {}
    for part in text.split(","):
        name, _, numbers = part.partition("=")
        if name not in axes:
            known = ", ".join(axes) or "no dynamic axis"
            fix = f"correct the name {name!r}" if "=" in part else f"write {option} NAME=size, or NAME=min:opt:max"
            raise InputError(f"received {option} {text}; the bundle has {known}; {fix}")
        sizes = numbers.split(":")
        if len(sizes) not in (1, 3) or not all(size.isdecimal() for size in sizes):
            raise InputError(
                f"received {option} {text}; expected {name}=min:opt:max or {name}=size; write three numbers"
            )
        smallest, best, largest = (int(size) for size in (sizes * 3)[:3])
        try:
            asked = Axis(smallest, best, largest, axes[name].multiple)
        except InputError as error:
            raise InputError(f"received {option} {text}: {error}") from None
        if asked.min < axes[name].min or asked.max > axes[name].max:
            raise InputError(
                f"received {option} {text}; the bundle was checked for {name} {axes[name]}; stay inside of it, or "
                "deploy with a wider range"
            )
        found[name] = asked
    return found
