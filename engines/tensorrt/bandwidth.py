"""Measure the bytes a second that a GPU's memory moves: copies from one place to another, timed by its own clock."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import TracebackType

from ..runtime import Arrays
from .device import Device

# far more than any GPU's caches hold
BYTES, COPIES, ROUNDS = 1 << 30, 8, 5


def bytes_per_s(device: Device) -> float:
    """Bytes read and written a second, in the best of a few rounds. Raises CheckFailed if memory runs out."""
    copies = _Copies(device, BYTES, COPIES, graphed=False)
    for _ in range(ROUNDS):
        copies.call()
    return 2 * BYTES * COPIES / min(copies.take_device_times()) * 1e9


class CopyRuntime:
    """Copies that are called as a model is, with no inputs and no outputs: ``copies`` of ``size`` bytes in each call.

    With ``graphed`` a CUDA graph launches them. Raises MissingRequirement without a GPU, and CheckFailed if memory runs
    out.
    """

    def __init__(self, size: int, copies: int, *, graphed: bool) -> None:
        self._device = Device()
        self._copies = _Copies(self._device, size, copies, graphed=graphed)
        self.name = self._device.name

    def __enter__(self) -> CopyRuntime:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._device.__exit__(kind, error, trace)

    def run(self, feeds: Arrays) -> Arrays:
        """Copy once."""
        self._copies.call()
        return {}

    def prepare(self, sets: Sequence[Arrays]) -> list[Callable[[], object]]:
        """Return one call for each of the ``sets``, whatever they hold."""
        return [self._copies.call for _ in sets]

    def take_device_times(self) -> list[int]:
        """Return the nanoseconds between the events around each call since this was asked last."""
        return self._copies.take_device_times()


class _Copies:
    """So many copies of ``size`` bytes between two places, with an event before and after."""

    def __init__(self, device: Device, size: int, copies: int, *, graphed: bool) -> None:
        self._stream, given, to = device.stream(), device.memory(size), device.memory(size)
        self._began, self._ended = device.event(), device.event()
        self._nanoseconds: list[int] = []

        def enqueue() -> None:
            for _ in range(copies):
                self._stream.copy(given, to, size)

        graph = device.graph(self._stream, enqueue) if graphed else None
        self._enqueue = enqueue if graph is None else lambda: graph.launch(self._stream)

    def call(self) -> None:
        """Copy, and wait until it is done."""
        self._began.record(self._stream)
        self._enqueue()
        self._ended.record(self._stream)
        self._stream.synchronize()
        self._nanoseconds.append(self._ended.nanoseconds_since(self._began))

    def take_device_times(self) -> list[int]:
        """Return the nanoseconds of each call since this was asked last."""
        found, self._nanoseconds = self._nanoseconds, []
        return found
