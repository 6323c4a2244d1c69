"""A stand-in for torch.cuda on a machine without one: it computes on the CPU and notes the order of the calls."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch


class PretendedCuda:
    """``calls`` has what was asked of torch.cuda, in order; each call takes the device 1, 2, 3 ... microseconds."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.pools: list[object] = []
        self.measured = 0

    def install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Put this in the place of torch.cuda's own, and the CPU in the place of the device cuda."""
        for name in ("Event", "CUDAGraph", "graph", "Stream", "stream", "current_stream", "synchronize"):
            monkeypatch.setattr(torch.cuda, name, getattr(self, name))
        monkeypatch.setattr(torch.cuda, "graph_pool_handle", lambda: "pool")
        for kind in (torch.Tensor, torch.nn.Module):
            monkeypatch.setattr(kind, "to", _to_cpu(kind.to))

    def Event(self, *, enable_timing: bool) -> Any:
        assert enable_timing
        cuda = self

        class Event:
            def record(self) -> None:
                cuda.calls.append("record")

            def elapsed_time(self, end: Event) -> float:
                assert cuda.calls[-1] == "synchronize", "the end may not have been reached"
                cuda.measured += 1
                return cuda.measured / 1000

        return Event()

    def CUDAGraph(self) -> Any:
        cuda = self

        class CUDAGraph:
            def replay(self) -> None:
                cuda.calls.append("replay")

        return CUDAGraph()

    @contextmanager
    def graph(self, graph: object, pool: object = None) -> Iterator[None]:
        self.pools.append(pool)
        self.calls.append("begin capture")
        yield
        self.calls.append("end capture")

    def Stream(self) -> Any:
        return self._stream("side")

    def current_stream(self) -> Any:
        return self._stream("current")

    def _stream(self, name: str) -> Any:
        cuda = self

        class Stream:
            def wait_stream(self, other: Stream) -> None:
                cuda.calls.append(f"{name} waits for {other}")

            def __str__(self) -> str:
                return name

        return Stream()

    @contextmanager
    def stream(self, stream: object) -> Iterator[None]:
        self.calls.append(f"on {stream}")
        yield

    def synchronize(self) -> None:
        self.calls.append("synchronize")


def _to_cpu(own: Any) -> Any:
    def to(self: Any, *given: Any, **named: Any) -> Any:
        kept = [value for value in given if not (isinstance(value, torch.device) and value.type == "cuda")]
        return own(self, *kept, **named) if kept or named else self

    return to
