"""A TensorRT 8.6.0 that builds nothing and runs the graph in ONNX Runtime, on the memory of cuda.c's driver.

A plan has the real header, then what it was built with as JSON, then the ONNX file. The inspector tells the types of
each node as the graph has them. The more nodes a graph has, the longer its plan takes by the driver's clock.
"""

from __future__ import annotations

import ctypes
import enum
import json
import os
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

__version__ = "8.6.0"
_HEADER = struct.Struct("<4sIIIQ4B")
_INSIDE = ("QuantizeLinear", "DequantizeLinear", "Cast", "Constant")


def _names(title: str, *names: str) -> Any:
    return enum.IntEnum(title, {name: place for place, name in enumerate(names)})  # type: ignore[misc]


NetworkDefinitionCreationFlag = _names("NetworkDefinitionCreationFlag", "EXPLICIT_BATCH")
BuilderFlag = _names("BuilderFlag", "FP16", "INT8", "TF32", "OBEY_PRECISION_CONSTRAINTS", "VERSION_COMPATIBLE")
MemoryPoolType = _names("MemoryPoolType", "WORKSPACE")
TacticSource = _names("TacticSource", "CUBLAS", "CUBLAS_LT", "CUDNN")
ProfilingVerbosity = _names("ProfilingVerbosity", "DETAILED")
LayerType = _names("LayerType", "CAST", "CONSTANT", "SHAPE")
LayerInformationFormat = _names("LayerInformationFormat", "JSON")
DataType = _names("DataType", "FLOAT", "HALF", "INT8", "INT32", "BOOL", "UINT8")
float32, float16 = DataType.FLOAT, DataType.HALF
# By the number of an ONNX type.
_TYPES = {1: DataType.FLOAT, 10: DataType.HALF, 3: DataType.INT8, 6: DataType.INT32, 7: DataType.INT32}


def nptype(kind: int) -> np.dtype[Any]:
    """The type in numpy."""
    return np.dtype(("float32", "float16", "int8", "int32", "bool", "uint8")[int(kind)])


class ILogger:
    """The base of a logger."""

    Severity = _names("Severity", "INTERNAL_ERROR", "ERROR", "WARNING", "INFO", "VERBOSE")
    ERROR = 1

    def __init__(self, *_: object) -> None: ...


class Logger(ILogger):
    """A logger that says nothing."""


class Config:
    """A builder's settings; whatever changes no number is taken and forgotten."""

    def __init__(self) -> None:
        self.flags = {int(BuilderFlag.TF32)}
        self.profiles: list[dict[str, list[list[int]]]] = []

    def set_flag(self, flag: int) -> None:
        self.flags.add(int(flag))

    def clear_flag(self, flag: int) -> None:
        self.flags.discard(int(flag))

    def get_tactic_sources(self) -> int:
        return 7

    def set_tactic_sources(self, _sources: int) -> bool:
        return True

    def set_memory_pool_limit(self, *_: object) -> None: ...

    def add_optimization_profile(self, profile: Profile) -> int:
        self.profiles.append(profile.shapes)
        return len(self.profiles) - 1

    def create_timing_cache(self, content: bytes) -> bytes:
        return content

    def set_timing_cache(self, *_: object) -> bool:
        return True

    def get_timing_cache(self) -> None:
        return None


class Profile:
    """The ranges of the inputs."""

    def __init__(self) -> None:
        self.shapes: dict[str, list[list[int]]] = {}

    def set_shape(self, name: str, *shapes: Sequence[int]) -> None:
        self.shapes[name] = [list(shape) for shape in shapes]


class Tensor:
    """An input or output, which takes another type if it is given one."""

    dtype = float32


class Network:
    """The bytes of the graph; no layer is to be bound, and one tensor stands for all inputs and outputs."""

    num_layers, num_inputs, num_outputs = 0, 1, 1
    graph = b""

    def __init__(self) -> None:
        self.tensor = Tensor()

    def get_input(self, _index: int) -> Tensor:
        return self.tensor

    def get_output(self, _index: int) -> Tensor:
        return self.tensor


class OnnxParser:
    """A parser that takes everything."""

    num_errors = 0

    def __init__(self, network: Network, _logger: object) -> None:
        self._network = network

    def parse_from_file(self, path: str) -> bool:
        self._network.graph = Path(path).read_bytes()
        return True


class Builder:
    """A builder that puts everything into the plan."""

    def __init__(self, _logger: object) -> None: ...

    def create_network(self, _flags: int) -> Network:
        return Network()

    def create_builder_config(self) -> Config:
        return Config()

    def create_optimization_profile(self) -> Profile:
        return Profile()

    def build_serialized_network(self, network: Network, config: Config) -> bytes:
        half = network.tensor.dtype == float16
        about = json.dumps({"profiles": config.profiles, "half": half}).encode()
        body = struct.pack("<I", len(about)) + about + network.graph
        return _HEADER.pack(b"ftrt", 0, 0, 0, _HEADER.size + len(body), 8, 6, 0, 0) + body


class Runtime:
    """A runtime that refuses a plan which is cut off."""

    def __init__(self, _logger: object) -> None: ...

    def deserialize_cuda_engine(self, plan: bytes) -> Engine | None:
        return Engine(bytes(plan)) if _HEADER.unpack_from(plan)[4] == len(plan) else None


class Engine:
    """The graph with its ranges."""

    device_memory_size = 1 << 20

    def __init__(self, plan: bytes) -> None:
        import onnx

        (length,) = struct.unpack_from("<I", plan, _HEADER.size)
        begin = _HEADER.size + 4
        about = json.loads(plan[begin : begin + length])
        self.profiles, self.half = about["profiles"], about["half"]
        self.content = plan[begin + length :]
        self.model = onnx.load_from_string(self.content)
        self.inputs = [value.name for value in self.model.graph.input]
        self.values = {value.name: value for value in (*self.model.graph.input, *self.model.graph.output)}
        self.num_io_tensors, self.num_optimization_profiles = len(self.values), max(1, len(self.profiles))

    def get_tensor_name(self, index: int) -> str:
        return [*self.values][index]

    def get_tensor_mode(self, name: str) -> str:
        return f"TensorIOMode.{'INPUT' if name in self.inputs else 'OUTPUT'}"

    def get_tensor_dtype(self, name: str) -> Any:
        kind = self.own_dtype(name)
        if self.half and kind == float32:
            kind = float16

        class Named(int):
            def __str__(self) -> str:
                return f"DataType.{kind.name}"

        return Named(kind)

    def own_dtype(self, name: str) -> Any:
        """The type in the graph."""
        return _TYPES[self.values[name].type.tensor_type.elem_type]

    def get_tensor_shape(self, name: str) -> list[int]:
        return [-1 if dim.dim_param else dim.dim_value for dim in self.values[name].type.tensor_type.shape.dim]

    def get_tensor_profile_shape(self, name: str, profile: int) -> list[list[int]]:
        return self.profiles[profile][name] if self.profiles else [self.get_tensor_shape(name)] * 3

    def create_execution_context(self) -> Context:
        return Context(self)

    def create_engine_inspector(self) -> Inspector:
        return Inspector(self)


class Inspector:
    """Tells of each node that computes which types it reads."""

    def __init__(self, engine: Engine) -> None:
        self._model = engine.model

    def get_engine_information(self, _format: object) -> str:
        from attn2trt.core.element_types import element_types

        words = {1: "FP32", 10: "FP16"}
        types = element_types(self._model)
        layers = [
            {
                "Name": node.name,
                "LayerType": node.op_type,
                "Metadata": f"[ONNX Layer: {node.name}]",
                "Inputs": [
                    {"Name": name, "Format/Datatype": f"Row major linear {words[types[name]]} format"}
                    for name in node.input
                    if types.get(name) in words
                ],
            }
            for node in self._model.graph.node
            if node.op_type not in _INSIDE
        ]
        return json.dumps({"Layers": layers})


class IProfiler:
    """The base of a profiler."""


class Context:
    """Runs the graph where its tensors lie."""

    profiler: Any = None

    def __init__(self, engine: Engine) -> None:
        import onnxruntime

        self._engine, self._profile = engine, 0
        self._shapes: dict[str, tuple[int, ...]] = {}
        self._addresses: dict[str, int] = {}
        os.environ["PRETENDED_MS"] = str(len(engine.model.graph.node) / 100)
        self._session = onnxruntime.InferenceSession(engine.content, providers=["CPUExecutionProvider"])

    def set_optimization_profile_async(self, profile: int, _stream: int) -> bool:
        self._profile = profile
        return True

    def set_input_shape(self, name: str, shape: Sequence[int]) -> bool:
        low, _, high = self._engine.get_tensor_profile_shape(name, self._profile)
        self._shapes[name] = tuple(shape)
        return all(least <= size <= most for least, size, most in zip(low, shape, high, strict=True))

    def set_tensor_address(self, name: str, address: int) -> bool:
        self._addresses[name] = address
        return name in self._engine.values

    def infer_shapes(self) -> list[str]:
        return []

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        batch = next(iter(self._shapes.values()))[0]
        declared = tuple(batch if size < 0 else size for size in self._engine.get_tensor_shape(name))
        return self._shapes.get(name, declared)

    def execute_async_v3(self, _stream: int) -> bool:
        outputs = [name for name in self._engine.values if name not in self._engine.inputs]
        types = {name: nptype(self._engine.own_dtype(name)) for name in self._engine.inputs}
        feeds = {name: self._array(name).astype(kind) for name, kind in types.items()}
        for name, value in zip(outputs, self._session.run(outputs, feeds), strict=True):
            self._array(name)[...] = value
        for node in self._engine.model.graph.node if self.profiler is not None else ():
            if node.op_type not in _INSIDE:
                self.profiler.report_layer_time(node.name, 0.01)
        return True

    def _array(self, name: str) -> np.ndarray[Any, Any]:
        shape, kind = self.get_tensor_shape(name), nptype(self._engine.get_tensor_dtype(name))
        memory = (ctypes.c_ubyte * (int(np.prod(shape)) * kind.itemsize)).from_address(self._addresses[name])
        return np.frombuffer(memory, kind).reshape(shape)
