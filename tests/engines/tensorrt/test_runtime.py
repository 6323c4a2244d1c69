"""The order in which a plan's runtime talks to the driver and to TensorRT, with a stand-in for both.

The stand-in's device memory is the host's, and its plan adds one. That says nothing about a GPU, but that no step is
forgotten, none is out of order, and every argument is one that C takes.
"""

from __future__ import annotations

import ctypes
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from attn2trt.core.tensor_spec import Axis, TensorSpec
from attn2trt.engines.runtime import Arrays
from attn2trt.engines.tensorrt import bandwidth, device, runtime
from attn2trt.engines.tensorrt.library import Library
from attn2trt.engines.tensorrt.profiles import Profile
from attn2trt.engines.tensorrt.runtime import TensorRTRuntime
from attn2trt.engines.tensorrt.versions import Version
from attn2trt.engines.timing.runners import CopyRunner, open_described
from attn2trt.errors import CheckFailed, InputError, MissingRequirement

X, Y = TensorSpec("x", ("batch", 3)), TensorSpec("y", ("batch", 3))
PROFILES = (Profile({"batch": Axis(1, 2, 4)}),)


class Driver:
    """libcuda's functions; every one that is not written here succeeds and does nothing."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.fail: dict[str, int] = {}
        self.memory: list[Any] = []
        self.enqueued: Callable[[], object] = lambda: None
        self.graphs: dict[int, Callable[[], object]] = {}
        self.capturing = False

    def __getattr__(self, name: str) -> Callable[..., int]:
        if not name.startswith("cu"):
            raise AttributeError(name)

        def call(*arguments: Any) -> int:
            # ctypes hands a plain number to C in 32 bits: a pointer must not be one
            assert all(one < 1 << 31 for one in arguments if isinstance(one, int)), name
            kinds = (int, ctypes._SimpleCData, ctypes.Array)
            assert all(isinstance(one, kinds) or hasattr(one, "_obj") for one in arguments), name
            self.calls.append(name)
            if code := self.fail.get(name, 0):
                return code
            found = getattr(self, f"_{name}", None)
            if found is not None:
                found(*arguments)
            elif arguments and hasattr(arguments[0], "_obj") and isinstance(arguments[0]._obj, ctypes.c_void_p):
                arguments[0]._obj.value = 0x7F00_0000_0000 + len(self.calls)
            return 0

        return call

    def _cuDeviceGetCount(self, count: Any) -> None:
        count._obj.value = 1

    def _cuMemAlloc_v2(self, address: Any, size: ctypes.c_size_t) -> None:
        address._obj.value = self._allocated(size.value)

    def _cuMemHostAlloc(self, address: Any, size: ctypes.c_size_t, _flags: int) -> None:
        address._obj.value = self._allocated(size.value)

    def _allocated(self, size: int) -> int:
        self.memory.append((ctypes.c_ubyte * size)())
        return ctypes.addressof(self.memory[-1])

    def _cuMemcpyHtoDAsync_v2(self, to: Any, given: Any, size: Any, _stream: Any) -> None:
        ctypes.memmove(to.value, given.value, size.value)

    def _cuMemcpyDtoHAsync_v2(self, to: Any, given: Any, size: Any, _stream: Any) -> None:
        ctypes.memmove(to.value, given.value, size.value)

    def _cuMemcpyDtoDAsync_v2(self, to: Any, given: Any, size: Any, _stream: Any) -> None:
        ctypes.memmove(to.value, given.value, size.value)

    def _cuStreamBeginCapture_v2(self, _stream: Any, _mode: int) -> None:
        self.capturing = True

    def _cuStreamEndCapture(self, _stream: Any, graph: Any) -> None:
        self.capturing = False
        graph._obj.value = 0x7F00_0000_1000 + len(self.graphs)
        self.graphs[graph._obj.value] = self.enqueued

    def _cuGraphInstantiateWithFlags(self, ready: Any, graph: ctypes.c_void_p, _flags: Any) -> None:
        ready._obj.value = graph.value

    def _cuGraphLaunch(self, graph: ctypes.c_void_p, _stream: Any) -> None:
        self.graphs[graph.value or 0]()

    def _cuEventElapsedTime(self, milliseconds: Any, _began: Any, _ended: Any) -> None:
        milliseconds._obj.value = 0.25

    def _cuGetErrorString(self, _code: int, said: Any) -> None:
        said._obj.value = b"out of memory"


class Context:
    """An execution context whose plan gives y = x + 1."""

    def __init__(self, driver: Driver) -> None:
        self._driver = driver
        self._shape: tuple[int, ...] = ()
        self._addresses: dict[str, int] = {}
        self.runs = True

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        self._shape = shape
        return name == "x"

    def set_tensor_address(self, name: str, address: int) -> bool:
        self._addresses[name] = address
        return name in ("x", "y")

    def infer_shapes(self) -> list[str]:
        return []

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return self._shape

    def execute_async_v3(self, stream: int) -> bool:
        addresses, count = dict(self._addresses), int(np.prod(self._shape))

        def run() -> None:
            given, to = (
                np.ctypeslib.as_array((ctypes.c_float * count).from_address(addresses[name])) for name in ("x", "y")
            )
            to[:] = given + 1

        self._driver.calls.append("execute")
        if self._driver.capturing:
            self._driver.enqueued = run
        else:
            run()
        return self.runs


@pytest.fixture
def driver(monkeypatch: pytest.MonkeyPatch) -> Driver:
    found = Driver()
    context = Context(found)
    engine = SimpleNamespace(create_execution_context=lambda: context, get_tensor_dtype=lambda name: "DataType.FLOAT")
    monkeypatch.setattr(device.ctypes, "CDLL", lambda name: found)
    monkeypatch.setattr(runtime, "load", lambda flavour, device: Library(SimpleNamespace(), flavour, Version(8, 6)))
    monkeypatch.setattr(runtime, "make_logger", lambda trt, log: SimpleNamespace(last_error="no"))
    monkeypatch.setattr(runtime, "make_runtime", lambda trt, logger, compatible: SimpleNamespace())
    monkeypatch.setattr(runtime, "open_plan", lambda runtime, plan: engine)
    monkeypatch.setattr(found, "context", context, raising=False)
    return found


def opened(*, graphed: bool = False, profiled: bool = False) -> TensorRTRuntime:
    return TensorRTRuntime(
        b"plan",
        inputs=(X,),
        outputs=(Y,),
        profiles=PROFILES,
        version_compatible=False,
        log=Path("log"),
        graphed=graphed,
        profiled=profiled,
    )


def feeds(batch: int, value: float = 0.0) -> Arrays:
    return {"x": np.full((batch, 3), value, np.float32)}


@pytest.fixture(params=[False, True], ids=["kernels", "graph"])
def loaded(driver: Driver, request: pytest.FixtureRequest) -> Iterator[TensorRTRuntime]:
    with opened(graphed=request.param) as found:
        yield found


@pytest.mark.usefixtures("driver")
def test_outputs_come_back_at_every_size_and_memory_is_kept() -> None:
    with opened() as found:
        for batch in (2, 4, 1):
            assert np.array_equal(found.run(feeds(batch, batch))["y"], feeds(batch, batch + 1)["x"])
        with pytest.raises(InputError, match="expected a shape inside batch=1:2:4"):
            found.run(feeds(5))


def test_prepared_calls_compute_each_on_its_own_input(loaded: TensorRTRuntime) -> None:
    calls = loaded.prepare([feeds(2, 1.0), feeds(2, 5.0)])
    outputs = loaded._buffers["y"]
    for call, expected in ((calls[0], 2.0), (calls[1], 6.0)):
        call()
        there = np.ctypeslib.as_array((ctypes.c_float * 6).from_address(outputs.address))
        assert (there == expected).all()


def test_a_call_is_between_two_events_and_waits(driver: Driver, loaded: TensorRTRuntime) -> None:
    (call,) = loaded.prepare([feeds(2)])
    driver.calls.clear()
    call()
    launched = "cuGraphLaunch" if loaded._graphed else "execute"
    assert driver.calls == ["cuEventRecord", launched, "cuEventRecord", "cuStreamSynchronize", "cuEventElapsedTime"]
    assert loaded.take_device_times() == [250_000]
    assert loaded.take_device_times() == []


def test_a_graph_is_captured_after_a_run_and_never_left_open(driver: Driver) -> None:
    with opened(graphed=True) as found:
        found.prepare([feeds(2)])
        captured = driver.calls.index("cuStreamBeginCapture_v2")
        assert "execute" in driver.calls[:captured]
        assert driver.calls[captured + 1 : captured + 3] == ["execute", "cuStreamEndCapture"]
        driver.context.runs = False
        driver.calls.clear()
        with pytest.raises(CheckFailed, match="did not run the plan"):
            found._device.graph(found._stream, found._enqueue)
        assert driver.calls[-1] == "cuStreamEndCapture"


def test_everything_is_given_back(driver: Driver) -> None:
    with opened(graphed=True) as found:
        found.prepare([feeds(2)])
    made = {"cuMemFree_v2": "cuMemAlloc_v2", "cuMemFreeHost": "cuMemHostAlloc", "cuStreamDestroy_v2": "cuStreamCreate"}
    made |= {"cuEventDestroy_v2": "cuEventCreate", "cuGraphDestroy": "cuStreamEndCapture"}
    made |= {"cuGraphExecDestroy": "cuGraphInstantiateWithFlags"}
    assert {end: driver.calls.count(end) for end in made} == {end: driver.calls.count(made[end]) for end in made}
    assert driver.calls[-1] == "cuDevicePrimaryCtxRelease_v2"


def test_a_driver_that_refuses_is_one_line(driver: Driver) -> None:
    driver.fail = {"cuMemAlloc_v2": 2}
    with opened() as found, pytest.raises(CheckFailed, match=r"out of memory \(error 2\); free memory of the GPU"):
        found.run(feeds(2))
    driver.fail = {"cuInit": 100}
    with pytest.raises(MissingRequirement, match="cuInit error 100"):
        opened()


def test_the_profiler_has_a_time_for_every_layer_of_each_call(driver: Driver, monkeypatch: pytest.MonkeyPatch) -> None:
    """TensorRT reports at the end of each call; what it did before the first prepared one is left out."""

    class IProfiler:
        def report_layer_time(self, layer_name: str, ms: float) -> None:
            raise NotImplementedError

    context = driver.context  # type: ignore[attr-defined]
    execute, took = context.execute_async_v3, iter([9.0, 0.5, 0.25])

    def report(stream: int) -> bool:
        assert context.enqueue_emits_profile is True
        ms = next(took)
        for name in ("conv", "copy", "copy"):
            context.profiler.report_layer_time(name, ms)
        return bool(execute(stream))

    monkeypatch.setattr(context, "execute_async_v3", report)
    trt = SimpleNamespace(IProfiler=IProfiler)
    monkeypatch.setattr(runtime, "load", lambda flavour, device: Library(trt, flavour, Version(8, 6)))
    with opened(profiled=True) as found:
        (call,) = found.prepare([feeds(2)])
        call()
        call()
        times = found.node_times()
    assert times.names == ("conv", "copy", "copy")
    assert times.microseconds.tolist() == [[500.0] * 3, [250.0] * 3]


def test_copies_are_called_as_a_model_is(driver: Driver) -> None:
    for graphed in (False, True):
        runner = CopyRunner(size=400, copies=3, graphed=graphed)
        assert runner.moved == 2 * 3 * 400
        driver.calls.clear()
        with open_described(runner.to_json(), 1) as found:
            (call,) = found.prepare([{}])
            assert found.run({}) == {}
            call()
            assert found.take_device_times() == [250_000] * 2
        copied = driver.calls.count("cuMemcpyDtoDAsync_v2")
        assert (copied, driver.calls.count("cuGraphLaunch")) == ((3, 2) if graphed else (6, 0))
        assert driver.calls.count("cuMemAlloc_v2") == driver.calls.count("cuMemFree_v2") == 2
        assert driver.calls.count("cuMemHostAlloc") == 0
        assert driver.calls[-1] == "cuDevicePrimaryCtxRelease_v2"


def test_a_copy_reads_and_writes(driver: Driver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bandwidth, "BYTES", 4000)
    with device.Device() as found:
        # 8 copies in the quarter of a millisecond that the stand-in's clock tells
        assert bandwidth.bytes_per_s(found) == pytest.approx(2 * 8 * 4000 / 0.25e-3)
    assert driver.calls.count("cuMemcpyDtoDAsync_v2") == bandwidth.COPIES * bandwidth.ROUNDS


def test_a_plan_that_nobody_described_tells_its_ranges_types_and_layers(
    driver: Driver, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: dict[str, tuple[int, ...]] = {}

    class Inspector:
        execution_context: Any = None

        def get_engine_information(self, _kind: object) -> str:
            return json.dumps({"Layers": [], "shapes": asked})

    context = driver.context  # type: ignore[attr-defined]
    own = context.set_input_shape
    monkeypatch.setattr(context, "set_input_shape", lambda name, shape: asked.update({name: shape}) or own(name, shape))
    engine = SimpleNamespace(
        create_execution_context=lambda: context,
        get_tensor_dtype=lambda name: "DataType.HALF",
        create_engine_inspector=Inspector,
        num_io_tensors=2,
        num_optimization_profiles=1,
        get_tensor_name=lambda index: "xy"[index],
        get_tensor_mode=lambda name: "TensorIOMode.INPUT" if name == "x" else "TensorIOMode.OUTPUT",
        get_tensor_shape=lambda name: (-1, 3),
        get_tensor_profile_shape=lambda name, index: ((1, 3), (2, 3), (4, 3)),
    )
    monkeypatch.setattr(runtime, "open_plan", lambda runtime, plan: engine)
    kinds = SimpleNamespace(LayerInformationFormat=SimpleNamespace(JSON=0))
    monkeypatch.setattr(runtime, "load", lambda flavour, device: Library(kinds, flavour, Version(8, 6)))
    opened = TensorRTRuntime(
        b"plan", inputs=(X,), outputs=(Y,), profiles=None, version_compatible=True, log=Path("log")
    )
    assert opened.profiles == PROFILES
    assert opened.types() == {"x": "float16", "y": "float16"}
    assert json.loads(opened.layers())["shapes"] == {"x": [2, 3]}
    monkeypatch.setattr(context, "execute_async_v3", lambda stream: True)  # its numbers are no halves
    opened.run({"x": np.zeros((4, 3), np.float32)})
    assert json.loads(opened.layers())["shapes"] == {"x": [4, 3]}
