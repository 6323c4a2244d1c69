"""TensorRT's profiler: the time that each layer of a plan takes on the device, call by call.

TensorRT measures each layer between two events, one layer after the other, and waits for the last one. It reports
nothing of a CUDA graph. What it is called with is a layer's name, as the inspector has it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..node_times import NodeTimes

Reported = list[tuple[str, float]]


def attach_profiler(trt: Any, context: Any) -> LayerClock:
    """Have the context report to a clock, at the end of each of its calls, what each of its layers took."""
    clock = LayerClock()

    class Profiler(trt.IProfiler):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()

        def report_layer_time(self, layer_name: str, ms: float) -> None:
            """Called by TensorRT for each layer, in the order in which they run."""
            clock.reported.append((layer_name, ms))

    clock.profiler = Profiler()
    context.profiler = clock.profiler
    context.enqueue_emits_profile = True
    return clock


class LayerClock:
    """The times of the layers; ``profiler`` is kept as long as the context may call it."""

    def __init__(self) -> None:
        self.reported: Reported = []
        self.profiler: Any = None
        self._calls: list[Reported] = []

    def end_call(self) -> None:
        """Keep what was reported since the last call as one call."""
        self._calls.append(self.reported)
        self.reported = []

    def forget(self) -> None:
        """Leave out all calls until now."""
        self.reported, self._calls = [], []

    def times(self) -> NodeTimes:
        """Return the time of each layer in every call; layers of one name are distinguished by their order."""
        return layer_times(self._calls)


def layer_times(calls: Sequence[Reported]) -> NodeTimes:
    """Return the times of calls, each a list of names with milliseconds. A layer that a call lacks took no time."""
    found = [_numbered(call) for call in calls]
    order = list(dict.fromkeys(key for call in found for key in call))
    microseconds = np.array([[call.get(key, 0.0) * 1e3 for key in order] for call in found], np.float32)
    names = tuple(name for name, _ in order)
    return NodeTimes(names, ("",) * len(names), microseconds.reshape(len(calls), len(names)))


def _numbered(call: Reported) -> dict[tuple[str, int], float]:
    """Return the milliseconds of a call by name, and by the number of the layer among those of its name."""
    seen: Counter[str] = Counter()
    found: dict[tuple[str, int], float] = {}
    for name, ms in call:
        found[name, seen[name]] = ms
        seen[name] += 1
    return found
