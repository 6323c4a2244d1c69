"""Measure the bytes a second that a GPU's memory moves: copies from one place to another, timed by its own clock."""

from __future__ import annotations

from .device import Device

# far more than any GPU's caches hold
BYTES, COPIES, ROUNDS = 1 << 30, 8, 5


def bytes_per_s(device: Device) -> float:
    """Bytes read and written a second, in the best of a few rounds. Raises CheckFailed if memory runs out."""
    stream, given, to = device.stream(), device.buffer(BYTES), device.buffer(BYTES)
    began, ended = device.event(), device.event()
    nanoseconds = []
    for _ in range(ROUNDS):
        began.record(stream)
        for _ in range(COPIES):
            stream.copy(given, to, BYTES)
        ended.record(stream)
        stream.synchronize()
        nanoseconds.append(ended.nanoseconds_since(began))
    return 2 * BYTES * COPIES / min(nanoseconds) * 1e9
