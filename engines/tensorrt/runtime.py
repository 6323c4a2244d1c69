"""A plan in TensorRT, with its buffers kept and reused. Runs in a process of its own (runtime_child.py)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from ...core.tensor_spec import TensorSpec
from ...errors import CheckFailed, InputError
from ..node_times import NodeTimes
from ..runtime import Arrays
from .device import Buffer, Device, Event
from .engine_io import engine_profiles, require_io
from .flavours import RTX, TENSORRT, Flavour
from .inspector import inspected
from .library import load, make_logger, make_runtime, open_plan
from .messages import clean
from .plugin.library import load_plugin
from .profiler import attach_profiler
from .profiles import Profile, Shape
from .rtx import RuntimeConfig

# By the last part of TensorRT's own name. Before version 10 there is no INT64: its parser makes INT32 of it.
_DTYPES = {"FLOAT": "float32", "HALF": "float16", "INT8": "int8", "INT32": "int32", "INT64": "int64"} | {
    "BOOL": "bool",
    "UINT8": "uint8",
}


class TensorRTRuntime:
    """A plan in the TensorRT that built it.

    ``profiles`` are the ranges that it runs in.

    Args:
        plan: The bytes of the file, which their hash has proven to be the ones that were meant.
        inputs: The graph's inputs.
        outputs: The graph's outputs, whose dtypes are those that the graph declares.
        profiles: The ranges that the plan was built for; None asks the plan.
        version_compatible: The plan carries a runtime of its own.
        log: Written: what TensorRT says.
        graphed: Have what ``prepare`` makes launch a CUDA graph in place of kernel after kernel.
        profiled: Have TensorRT's profiler time each layer of what ``prepare`` makes; not together with ``graphed``.
        flavour: The TensorRT that the plan is of.
        kernel_cache: The kernels that TensorRT for RTX compiled in an earlier process; empty if there is none.
        plugin: A library of plugins that the plan needs, and its hash.

    Raises:
        MissingRequirement: There is no device or no such TensorRT.
        CheckFailed: TensorRT refuses the plan.
    """

    def __init__(
        self,
        plan: bytes,
        *,
        inputs: Sequence[TensorSpec],
        outputs: Sequence[TensorSpec],
        profiles: Sequence[Profile] | None,
        version_compatible: bool,
        log: Path,
        graphed: bool = False,
        profiled: bool = False,
        flavour: Flavour = TENSORRT,
        kernel_cache: bytes = b"",
        plugin: tuple[Path, str] | None = None,
    ) -> None:
        self._inputs, self._outputs = tuple(inputs), tuple(outputs)
        self._stack = ExitStack()
        self._device = self._stack.enter_context(Device())
        library = load(flavour, self._device)
        self._trt = library.trt
        self._logger = make_logger(self._trt, log)
        if plugin is not None:
            load_plugin(self._trt, *plugin)
        self._runtime = make_runtime(self._trt, self._logger, version_compatible)
        self._engine = open_plan(self._runtime, plan)
        if self._engine is None:
            raise CheckFailed(f"{library} cannot load the plan: {clean(self._logger.last_error)}")
        if profiles is None:
            require_io(self._engine, self._inputs, self._outputs)
        self.profiles = engine_profiles(self._engine, self._inputs) if profiles is None else tuple(profiles)
        self._config = (
            RuntimeConfig(self._trt, self._engine, cache=kernel_cache, graphed=graphed) if flavour is RTX else None
        )
        self._context = self._create_context()
        if self._context is None:
            raise CheckFailed(f"{library} cannot run the plan: {clean(self._logger.last_error)}")
        self._layer_clock = attach_profiler(self._trt, self._context) if profiled else None
        self._stream = self._device.stream()
        self._profile = 0
        self._buffers: dict[str, Buffer] = {}
        # TensorRT for RTX captures its own CUDA graphs: it may still compile kernels when a shape comes first.
        self._graphed = graphed and self._config is None
        self._device_times: list[int] = []
        self._has_run = False
        self.name = f"{library} on {self._device.name}{', CUDA graph' if graphed else ''}"

    def __enter__(self) -> TensorRTRuntime:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # in this order: each holds on to the next
        self._context = self._config = self._engine = self._runtime = None
        self._stack.close()

    def _create_context(self) -> Any:
        return (
            self._engine.create_execution_context()
            if self._config is None
            else (self._config.create_context(self._engine))
        )

    def layers(self) -> str:
        """Return what the inspector says of the layers: at the shapes of the last run, else the first optimum."""
        shapes = {spec.name: self.profiles[0].shapes(spec)[1] for spec in self._inputs}
        # after a run the context has its shapes, and all that it inferred from them
        return inspected(self._trt, self._engine, self._context, {} if self._has_run else shapes)

    def node_times(self) -> NodeTimes:
        """Return the time of each layer in every call until now, in the order in which they ran, if ``profiled``."""
        assert self._layer_clock is not None
        return self._layer_clock.times()

    def types(self) -> dict[str, str]:
        """The type in which the plan takes each input and gives each output."""
        return {spec.name: self._dtype(spec.name) for spec in (*self._inputs, *self._outputs)}

    def kernel_cache(self) -> bytes:
        """The kernels that TensorRT for RTX compiled for this machine so far; empty for another TensorRT."""
        return b"" if self._config is None else self._config.serialize()

    def run(self, feeds: Arrays) -> Arrays:
        """Outputs by name, from one pass over the stream. Raises InputError if the feeds fit no profile."""
        sizes, shapes = self._ready(feeds)
        self._enqueue()
        for name, size in sizes.items():
            self._stream.to_host(self._buffers[name], size)
        self._stream.synchronize()
        return {
            spec.name: self._buffers[spec.name]
            .host(shapes[spec.name], self._dtype(spec.name))
            .astype(spec.dtype, copy=True)
            for spec in self._outputs
        }

    def prepare(self, sets: Sequence[Arrays]) -> list[Callable[[], object]]:
        """One call for each of the ``sets`` of feeds, all of the same sizes: nothing but the plan's own work.

        The feeds are on the device already, and the outputs stay there. A call returns when its outputs are there; what
        the device itself took is in ``take_device_times``. Raises what ``run`` raises.
        """
        began, ended = self._device.event(), self._device.event()
        calls = []
        for feeds in sets:
            # buffers of its own, which the last set's are not overwritten by
            self._buffers = {name: self._buffers[name] for name in self._buffers if name not in feeds}
            self._ready(feeds)
            addresses = {spec.name: self._buffers[spec.name].address for spec in self._inputs}
            # once as it is: what shapes and addresses put off is done, and is not part of a graph
            self._enqueue()
            self._stream.synchronize()
            if self._layer_clock is not None:
                self._layer_clock.forget()
            calls.append(self._call(self._enqueuing(addresses), began, ended))
        return calls

    def take_device_times(self) -> list[int]:
        """Nanoseconds between the events around each call of ``prepare`` since this was asked last."""
        found, self._device_times = self._device_times, []
        return found

    def _enqueuing(self, addresses: Mapping[str, int]) -> Callable[[], object]:
        """Return the call that puts the plan into the stream for inputs at these addresses."""
        if self._graphed:
            graph = self._device.graph(self._stream, self._enqueue)
            return lambda: graph.launch(self._stream)

        def enqueue() -> None:
            for name, address in addresses.items():
                self._context.set_tensor_address(name, address)
            self._enqueue()

        return enqueue

    def _call(self, enqueue: Callable[[], object], began: Event, ended: Event) -> Callable[[], object]:
        def call() -> None:
            began.record(self._stream)
            enqueue()
            ended.record(self._stream)
            self._stream.synchronize()
            self._device_times.append(ended.nanoseconds_since(began))
            if self._layer_clock is not None:
                self._layer_clock.end_call()

        return call

    def _ready(self, feeds: Arrays) -> tuple[dict[str, int], dict[str, Shape]]:
        """Have the feeds on the device and memory for the outputs; returns the outputs' bytes and shapes."""
        check_feeds(feeds, self._inputs)
        self._choose(profile_for(feeds, self._inputs, self.profiles))
        for spec in self._inputs:
            value = feeds[spec.name]
            if not self._context.set_input_shape(spec.name, tuple(value.shape)):
                raise CheckFailed(f"TensorRT refuses {spec.name} {value.shape}: {clean(self._logger.last_error)}")
            self._put(spec.name, value)
        self._has_run = True
        if missing := self._context.infer_shapes():
            raise CheckFailed(f"TensorRT cannot infer shapes: {', '.join(missing)} are not specified enough")
        shapes = {spec.name: self._output_shape(spec.name) for spec in self._outputs}
        return {name: self._bind(name, shape) for name, shape in shapes.items()}, shapes

    def _enqueue(self) -> None:
        if not self._context.execute_async_v3(self._stream.handle):
            raise CheckFailed(f"TensorRT did not run the plan: {clean(self._logger.last_error)}")

    def _choose(self, index: int) -> None:
        if index == self._profile:
            return
        if not self._context.set_optimization_profile_async(index, self._stream.handle):
            raise CheckFailed(f"TensorRT refuses profile {index}: {clean(self._logger.last_error)}")
        self._stream.synchronize()
        self._profile = index

    def _put(self, name: str, value: np.ndarray[Any, Any]) -> None:
        dtype = self._dtype(name)
        size = self._bind(name, value.shape)
        narrow = value.astype(dtype)
        if not np.array_equal(narrow, value, equal_nan=value.dtype.kind == "f"):
            raise InputError(
                f"received {name} with values that {dtype} cannot hold, and TensorRT before 10 has no int64; give "
                "smaller ones, or run the plan with a newer TensorRT"
            )
        self._buffers[name].host(value.shape, dtype)[...] = narrow
        self._stream.to_device(self._buffers[name], size)

    def _bind(self, name: str, shape: Shape) -> int:
        """Give the tensor memory for this shape; returns its bytes."""
        size = int(np.prod(shape, dtype=np.int64)) * np.dtype(self._dtype(name)).itemsize
        if name not in self._buffers or self._buffers[name].size < size:
            self._buffers[name] = self._device.buffer(max(size, 1))
        if not self._context.set_tensor_address(name, self._buffers[name].address):
            raise CheckFailed(f"TensorRT has no tensor {name}: {clean(self._logger.last_error)}")
        return size

    def _output_shape(self, name: str) -> Shape:
        shape = tuple(int(size) for size in self._context.get_tensor_shape(name))
        if any(size < 0 for size in shape):
            raise CheckFailed(f"the shape of output {name} depends on values, {shape}; attn2trt runs no such plan")
        return shape

    def _dtype(self, name: str) -> str:
        said = str(self._engine.get_tensor_dtype(name)).rpartition(".")[2]
        if said not in _DTYPES:
            raise CheckFailed(f"tensor {name} is {said}, which numpy does not have; attn2trt runs no such plan")
        return _DTYPES[said]


def check_feeds(feeds: Arrays, inputs: Sequence[TensorSpec]) -> None:
    """Raise InputError unless ``feeds`` has exactly these inputs, of their dtype and rank."""
    expected = {spec.name: spec for spec in inputs}
    if feeds.keys() != expected.keys():
        raise InputError(
            f"received {', '.join(feeds) or 'no input'}; expected {', '.join(expected)}; correct the names"
        )
    for name, value in feeds.items():
        spec = expected[name]
        if value.dtype.name != spec.dtype or value.ndim != len(spec.shape):
            raise InputError(f"received {name} as {value.dtype.name}{list(value.shape)}; expected {spec}; convert it")


def profile_for(feeds: Arrays, inputs: Sequence[TensorSpec], profiles: Sequence[Profile]) -> int:
    """The first profile that holds the shapes of ``feeds``; InputError if none does, before anything runs."""
    for index, profile in enumerate(profiles):
        if all(_fits(feeds[spec.name].shape, *profile.shapes(spec)) for spec in inputs):
            return index
    shapes = ", ".join(f"{name} {list(value.shape)}" for name, value in feeds.items())
    ranges = " or ".join(map(str, profiles))
    raise InputError(f"received {shapes}; expected a shape inside {ranges}; compile with a --profile that holds it")


def _fits(shape: Shape, smallest: Shape, _best: Shape, largest: Shape) -> bool:
    return all(low <= size <= high for low, size, high in zip(smallest, shape, largest, strict=True))
