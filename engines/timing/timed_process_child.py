"""The child process of timed_process.py: load one model, then call it and time it, message by message."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from ...core.channel import failure
from ...core.tensor_spec import TensorSpec
from ..channel import send
from ..child import answer_each, answers
from ..runtime import Arrays
from .inputs import make_inputs
from .memory import peak_mib, start_peak
from .method import Limits, time_calls
from .runners import Preparable, open_described


def main(described: str) -> None:
    """Answer every message until the parent closes the channel."""
    stream = answers()
    try:
        message = json.loads(described)
        runtime = open_described(message["runner"], message["threads"])
    except Exception as error:
        send(stream, failure(error))
        return
    send(stream, {"name": runtime.name})
    with runtime:
        answer_each(Bench(runtime).answer, stream)


class Bench:
    """One runtime and the calls that were prepared for it."""

    def __init__(self, runtime: Preparable) -> None:
        self._runtime = runtime
        self._calls: list[Callable[[], object]] = []
        self._next = 0
        self._counts_from_load = False

    def answer(self, message: Mapping[str, Any], arrays: Arrays) -> tuple[Mapping[str, Any], Arrays | None]:
        """Do what the message asks, and return what goes back to the parent."""
        match message["do"]:
            case "run":
                return {}, self._runtime.run(arrays)
            case "prepare":
                self._prepare(message)
            case "warm up":
                self._call_for(message["seconds"])
            case "turn":
                return {}, self._turn(message)
            case "profile":
                return self._profile()
            case "layers":
                return self._layers(), None
            case "usage":
                return self._usage(), None
        return {}, None

    def _prepare(self, message: Mapping[str, Any]) -> None:
        specs = [TensorSpec.from_json(entry) for entry in message["inputs"]]
        self._counts_from_load = start_peak()
        sets = [make_inputs(specs, message["sizes"], seed) for seed in range(message["sets"])]
        self._calls = self._runtime.prepare(sets)

    def _call_for(self, seconds: float) -> None:
        until = time.perf_counter() + seconds
        while True:
            self._calls[self._next % len(self._calls)]()
            self._next += 1
            if time.perf_counter() >= until:
                return

    def _turn(self, message: Mapping[str, Any]) -> Arrays:
        limits = Limits(**message["limits"])
        if message["hot"]:
            self._calls[0]()
            found = time_calls(self._calls[:1], limits)
        else:
            self._call_for(limits.settle_seconds)
            found = time_calls(self._calls, limits, first=self._next)
            self._next += len(found)
        times = {"nanoseconds": found, "device": self._device_times(len(found))}
        return {name: np.array(values, np.int64) for name, values in times.items()}

    def _device_times(self, count: int) -> Sequence[int]:
        """Return the nanoseconds on the device of the last calls, if the runtime asks its device for them."""
        ask = getattr(self._runtime, "take_device_times", None)
        return ask()[-count:] if ask is not None else ()

    def _profile(self) -> tuple[Mapping[str, Any], Arrays]:
        runtime: Any = self._runtime  # one with a profile
        found = runtime.node_times()
        return {"names": found.names, "kinds": found.kinds}, {"microseconds": found.microseconds}

    def _layers(self) -> Mapping[str, Any]:
        runtime: Any = self._runtime  # a plan's
        return {"layers": runtime.layers()}

    def _usage(self) -> Mapping[str, Any]:
        return {
            "peak_mib": peak_mib(),
            "counts_from_load": self._counts_from_load,
            "cpu_seconds": time.process_time(),
        }
