"""One model in one runtime in a process of its own, which times itself: the pipe is no part of what is measured."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from ...core.tensor_spec import TensorSpec
from ...errors import CheckFailed
from ..child import Child
from ..node_times import NodeTimes
from ..runtime import Arrays
from .method import Limits
from .runners import Runner


class TimedProcess(Child):
    """A process in which ``runner`` loads its model with so many ``threads``, and which times the model's calls.

    Raises CheckFailed if the process dies or does not answer in time.
    """

    def __init__(self, runner: Runner, *, threads: int) -> None:
        message = json.dumps({"threads": threads, "runner": runner.to_json()}, default=str)
        environment = {
            "OMP_NUM_THREADS": str(threads),
            **runner.environment,
            # processes that compile beside each other would outlive their use
            "TORCHINDUCTOR_COMPILE_THREADS": "1",
        }
        super().__init__(
            "engines.timing.timed_process_child",
            message,
            who=runner.product,
            environment=environment,
        )
        self.device_times: list[int] = []

    def run(self, feeds: Arrays) -> Arrays:
        """Return the outputs by name."""
        return self.ask("running the model", {"do": "run"}, feeds)[1]

    def prepare(self, specs: Sequence[TensorSpec], sizes: Mapping[str, int], *, sets: int) -> None:
        """Make so many sets of inputs; from here on the peak of memory counts."""
        message = {"do": "prepare", "inputs": [spec.to_json() for spec in specs], "sizes": dict(sizes)}
        self.ask("preparing the inputs", {**message, "sets": sets})

    def warm_up(self, seconds: float) -> None:
        """Call the model for so long, and once at least."""
        self.ask("warming up", {"do": "warm up", "seconds": seconds})

    def turn(self, limits: Limits, *, hot: bool) -> list[int]:
        """Return the nanoseconds of each call, on one and the same input if ``hot``, else on inputs that rotate.

        The nanoseconds that a GPU took of calls on rotated inputs are added to ``device_times``.
        """
        nanoseconds, on_device = self._timed(limits, hot=hot)
        if not hot:
            self.device_times += on_device
        return nanoseconds

    def device_turn(self, limits: Limits, *, hot: bool) -> list[int]:
        """Return the nanoseconds of each call by the GPU's own clock. Raises CheckFailed for what runs on no GPU."""
        found = self._timed(limits, hot=hot)[1]
        if not found:
            raise CheckFailed(f"{self.name} has no clock of a GPU")
        return found

    def _timed(self, limits: Limits, *, hot: bool) -> tuple[list[int], list[int]]:
        found = self.ask("being timed", {"do": "turn", "limits": asdict(limits), "hot": hot})[1]
        nanoseconds, on_device = ([int(value) for value in found[name]] for name in ("nanoseconds", "device"))
        return nanoseconds, on_device

    def layers(self) -> str:
        """Return what TensorRT's inspector says of a plan, at the shapes that it ran at last."""
        return str(self.ask("reporting its layers", {"do": "layers"})[0]["layers"])

    def node_times(self) -> NodeTimes:
        """Return the time of each node in every call until now, of a runner with a profile; works once."""
        header, arrays = self.ask("reporting the time of each node", {"do": "profile"})
        return NodeTimes(tuple(header["names"]), tuple(header["kinds"]), arrays["microseconds"])

    def usage(self) -> dict[str, Any]:
        """Return ``peak_mib`` (None if unknown), if it ``counts_from_load``, and ``cpu_seconds`` used until now."""
        return self.ask("being timed", {"do": "usage"})[0]

    def cpu_seconds(self) -> float:
        """Return the processor time that it has used until now."""
        return float(self.usage()["cpu_seconds"])
