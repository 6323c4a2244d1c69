"""What the cases reach inside a module: gates that move, channels that open, comparisons that go both ways.

A ReLU that shuts a channel off in every case hides the weights that lead to it, and a threshold that no score passes
all that it selects. This is the neuron coverage of DeepXplore (Pei et al., SOSP 2017, https://arxiv.org/abs/1705.06640),
counted by channels, and the condition coverage of software tests.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import numpy as np

from .arrays import Array

# aten operators that gates end in
_SOFTMAXES = frozenset({"_softmax", "softmax"})
_GATES = _SOFTMAXES | {"sigmoid", "hardsigmoid", "tanh"}
# aten operators that give one number for a whole range
_FLAT = frozenset({"relu", "hardtanh", "hardswish", "clamp", "clamp_min", "threshold"})
_COMPARISONS = {"eq": "==", "ne": "!=", "lt": "<", "le": "<=", "gt": ">", "ge": ">="}
STILL = 1e-3
# of an activation's channels that stand still, from which on it is named; most networks have less
SHARE = 0.25
ADVICE = "other weights, or photographs (--inputs FOLDER), may reach it"

Place = tuple[str, str, int]


@dataclass
class Reached:
    """Filled while the float64 reference runs.

    Attributes:
        ends: (lowest, highest) of every gate and activation, by module, operator and number of its call in a run: of
            each channel, (channels,), or of the whole, ().
        sides: What every comparison with something that depends on the inputs gave, by operator and line.
        ways: Which ways the ``torch.cond`` of a line went.
    """

    ends: dict[Place, tuple[Array, Array]] = field(default_factory=dict)
    sides: dict[tuple[str, str], set[bool]] = field(default_factory=dict)
    ways: dict[str, set[bool]] = field(default_factory=dict)

    def way(self, line: str, taken: bool) -> None:
        """Note which way the ``torch.cond`` of a line went."""
        self.ways.setdefault(line, set()).add(taken)

    def side(self, operator: str, line: str, found: Array) -> None:
        """Note what a comparison gave."""
        self.sides.setdefault((operator, line), set()).update({bool(found.any()), bool(found.all())})

    def value(self, place: Place, value: Array) -> None:
        """Note what a gate or an activation gave: numbers, at least one."""
        low, high = _channel_ends(place[1], value)
        if place in self.ends:
            known_low, known_high = self.ends[place]
            if known_low.shape != low.shape:  # no channels: a size that varies
                known_low, known_high, low, high = known_low.min(), known_high.max(), low.min(), high.max()
            low, high = np.minimum(low, known_low), np.maximum(high, known_high)
        self.ends[place] = low, high

    def findings(self) -> list[str]:
        """Return one sentence for everything that no case reached."""
        return [*self._still(), *self._one_sided()]

    def _still(self) -> list[str]:
        """Return a sentence for each gate that stands still, and one for all whose channels do, the worst one named."""
        gates = Counter(_still_gate(place, low, high) for place, (low, high) in self.ends.items())
        found = [line if calls == 1 else f"{line} ({calls} calls)" for line, calls in gates.items() if line]
        channels = {place: _still_channels(place, low, high) for place, (low, high) in self.ends.items()}
        shut = sorted((place for place, share in channels.items() if share >= SHARE), key=channels.__getitem__)
        if shut:
            path, operator, _ = worst = shut[-1]
            number = len(self.ends[worst][0])
            count = f"{round(channels[worst] * number)} of {number} channels"
            others = f" ({len(shut) - 1} more such)" if len(shut) > 1 else ""
            found.append(
                f"{path or 'the model'}: the {operator.strip('_')} gives one number for {count} in every case, so what "
                f"these are computed from was not checked{others}; {ADVICE}"
            )
        return found

    def _one_sided(self) -> list[str]:
        ways = [
            f"torch.cond{f' at {line}' if line else ''} finds its condition {next(iter(ways))} in every case, so its "
            "other side was not checked"
            for line, ways in self.ways.items()
            if len(ways) == 1
        ]
        sides = [
            f"the {_COMPARISONS[operator]}{f' at {line}' if line else ''} is {next(iter(sides))} everywhere in every "
            f"case, so what it chooses otherwise was not checked; {ADVICE}"
            for (operator, line), sides in self.sides.items()
            if len(sides) == 1 and line not in self.ways
        ]
        return [*ways, *sides]


def is_followed(operator: str) -> bool:
    """Tell whether an operator, by its name, is a gate or an activation."""
    return operator in _GATES | _FLAT


def is_comparison(operator: str) -> bool:
    """Tell whether an operator, by its name, compares."""
    return operator in _COMPARISONS


def _channel_ends(operator: str, value: Array) -> tuple[Array, Array]:
    """Return the (lowest, highest) number of each channel of ``value``, or of the whole of it, (), without channels.

    Channels are dimension 1, as of a convolution, or the last of three.
    """
    if value.ndim < 2 or operator in _SOFTMAXES:
        channels, axes = value, None
    elif value.ndim == 3:
        channels, axes = value, (0, 1)
    else:
        channels, axes = value.reshape(*value.shape[:2], -1), (0, 2)
    return np.asarray(channels.min(axes)), np.asarray(channels.max(axes))


def _still_gate(place: Place, low: Array, high: Array) -> str:
    """Return what is said of a gate that gives the same number everywhere; "" of any other and of an activation."""
    path, operator, _ = place
    lowest, highest = float(low.min()), float(high.max())
    if operator not in _GATES or highest - lowest >= STILL:
        return ""
    return (
        f"{path or 'the model'}: the {operator.strip('_')} gives {(lowest + highest) / 2:.3g} in every case, so what "
        "it is computed from was not checked"
    )


def _still_channels(place: Place, low: Array, high: Array) -> float:
    """Return the share of channels that have one number each; 0.0 without channels, or if a gate stands still."""
    if not low.ndim or _still_gate(place, low, high):
        return 0.0
    still = high - low <= STILL * np.maximum(np.abs(low), np.abs(high)) if place[1] in _GATES else high == low
    return float(still.mean())


def name_of(operator: str) -> str:
    """Return the name of an aten operator, without the mark of those that work in place."""
    return operator if operator.startswith("_") else operator.removesuffix("_")
