"""A model that times itself in a process of its own: what it answers, and what its end becomes."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnx
import pytest
from small_graph import INPUT, healthy
from torch import nn

from attn2trt.engines.node_times import NodeTimes
from attn2trt.engines.ort_runtime import CPU
from attn2trt.engines.runtime import Arrays
from attn2trt.engines.timing.method import Limits
from attn2trt.engines.timing.runners import OrtRunner, TorchRunner
from attn2trt.engines.timing.timed_process import TimedProcess
from attn2trt.engines.timing.timed_process_child import Bench
from attn2trt.engines.torch_runtime import TorchRuntime, save_weights
from attn2trt.errors import CheckFailed, InputError, MissingRequirement
from attn2trt.modules.catalog import build, resolve

LIMITS = Limits(0, 7, 1)
FEEDS = {"x": np.arange(2 * 3 * 4 * 8, dtype=np.float32).reshape(2, 3, 4, 8)}


@pytest.fixture
def model(tmp_path: Path) -> Path:
    onnx.save(healthy(), tmp_path / "model.onnx")
    return tmp_path / "model.onnx"


@pytest.fixture
def process(model: Path) -> Iterator[TimedProcess]:
    with TimedProcess(OrtRunner(model, CPU), threads=1) as found:
        yield found


def test_it_computes_and_times_itself(process: TimedProcess) -> None:
    assert process.name.startswith("ONNX Runtime")
    assert np.array_equal(process.run(FEEDS)["y"], FEEDS["x"] + 1)
    process.prepare((INPUT,), {"batch": 2, "height": 4}, sets=3)
    process.warm_up(0)
    for hot in (False, True):
        found = process.turn(LIMITS, hot=hot)
        assert len(found) == 7
        assert min(found) > 0
    usage = process.usage()
    assert usage["peak_mib"] is None or usage["peak_mib"] > 1
    assert usage["cpu_seconds"] > 0


def test_inputs_that_do_not_fit_are_the_runtimes_own_error(process: TimedProcess) -> None:
    with pytest.raises(InputError, match="expected x"):
        process.run({"z": FEEDS["x"]})
    with pytest.raises(InputError, match="expected batchx3xheightx8"):
        process.prepare((INPUT.__class__("x", (2, 4, 4, 8)),), {}, sets=2)
    assert process.run(FEEDS)


def test_a_crash_while_it_is_timed_is_an_error(process: TimedProcess) -> None:
    process.prepare((INPUT,), {"batch": 2, "height": 4}, sets=2)
    os.kill(process.pid, signal.SIGSEGV)
    with pytest.raises(CheckFailed, match="being timed, ONNX Runtime's process was killed by SIGSEGV"):
        process.turn(LIMITS, hot=False)


def test_a_provider_that_is_not_there_is_an_error_and_no_number(model: Path) -> None:
    with (
        TimedProcess(OrtRunner(model, "TensorrtExecutionProvider"), threads=1) as found,
        pytest.raises(MissingRequirement),
    ):
        found.load()


def test_a_module_is_rebuilt_with_its_weights(tmp_path: Path) -> None:
    target = resolve("se", shapes=["1x16x4x4"], seed=3)
    module = target.build()
    save_weights(module, tmp_path / "weights.pt")
    runner = TorchRunner("se", ("x=1x16x4x4:float32",), 3, tmp_path / "weights.pt", ("output",))
    feeds = {"x": np.random.default_rng(0).standard_normal((1, 16, 4, 4), np.float32)}
    with runner.open(threads=1) as runtime:
        assert np.array_equal(runtime.run(feeds)["output"], TorchRuntime(module).run(feeds)["output"])


def test_weights_of_another_module_are_refused(tmp_path: Path) -> None:
    save_weights(build("eca"), tmp_path / "weights.pt")
    runner = TorchRunner("se", ("x=1x16x4x4:float32",), 0, tmp_path / "weights.pt", ("output",))
    with pytest.raises(RuntimeError, match="state_dict"):
        runner.open(threads=1)


def test_weights_hold_no_code(tmp_path: Path) -> None:
    import pickle

    (tmp_path / "weights.pt").write_bytes(pickle.dumps(nn.Identity()))
    runner = TorchRunner("se", ("x=1x16x4x4:float32",), 0, tmp_path / "weights.pt", ("output",))
    with pytest.raises(Exception, match=r"[Ww]eights.only"):
        runner.open(threads=1)


class WithClock:
    """A runtime whose device tells what it took: 1, 2, 3 ... in every call."""

    name = "a device"

    def __init__(self) -> None:
        self._times: list[int] = []
        self._count = 0

    def __enter__(self) -> WithClock:
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def run(self, feeds: Arrays) -> Arrays:
        return feeds

    def prepare(self, sets: Sequence[Arrays]) -> list[Callable[[], object]]:
        return [self._call] * len(sets)

    def _call(self) -> None:
        self._count += 1
        self._times.append(self._count)

    def take_device_times(self) -> list[int]:
        found, self._times = self._times, []
        return found


def test_what_a_device_took_is_reported_call_by_call() -> None:
    bench = Bench(WithClock())
    bench.answer({"do": "prepare", "inputs": [INPUT.to_json()], "sizes": {"batch": 2, "height": 4}, "sets": 2}, {})
    bench.answer({"do": "warm up", "seconds": 0}, {})
    limits = asdict(Limits(0, 3, 1))
    for hot, last in ((False, 5), (True, 9)):
        _, found = bench.answer({"do": "turn", "limits": limits, "hot": hot}, {})
        assert found is not None
        assert len(found["nanoseconds"]) == 3
        # the calls that only settle or warm up are left out
        assert found["device"].tolist() == [last - 2, last - 1, last]


def test_a_plan_answers_with_its_layers_and_their_times(monkeypatch: pytest.MonkeyPatch) -> None:
    """The document is text, the times are an array, and the device's clock is beside the host's."""
    times = NodeTimes(("conv", "copy"), ("", ""), np.array([[500.0, 1.0]], np.float32))
    answers = Bench(SimpleNamespace(layers=lambda: "{}", node_times=lambda: times)).answer  # type: ignore[arg-type]
    assert answers({"do": "layers"}, {}) == ({"layers": "{}"}, None)
    header, arrays = answers({"do": "profile"}, {})
    assert arrays is not None
    assert (header["names"], arrays["microseconds"].tolist()) == (("conv", "copy"), [[500.0, 1.0]])
    process = object.__new__(TimedProcess)
    replies = {"layers": ({"layers": "{}"}, {}), "turn": ({}, {"nanoseconds": [9], "device": [3]})}
    monkeypatch.setattr(TimedProcess, "ask", lambda _process, _doing, message: replies[message["do"]])
    assert process.layers() == "{}"
    assert process.device_turn(LIMITS, hot=True) == [3]
