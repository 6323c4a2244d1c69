"""A TensorRT 8.6 without a GPU, as far as running a plan asks it: the plan doubles its input."""

from __future__ import annotations

import ctypes
import json
from collections.abc import Sequence
from typing import Any

import numpy as np

__version__ = "8.6.0"
COPY = "Reformatting CopyNode for Input Tensor 0 to mul"


class ILogger:
    class Severity:
        INTERNAL_ERROR, ERROR = 0, 1


class IProfiler:
    def report_layer_time(self, layer_name: str, ms: float) -> None:
        raise NotImplementedError


class LayerInformationFormat:
    JSON = 0


class Context:
    profiler: IProfiler | None = None
    enqueue_emits_profile = False

    def __init__(self) -> None:
        self.addresses: dict[str, int] = {}
        self.shape: tuple[int, ...] = ()

    def set_input_shape(self, _name: str, shape: Sequence[int]) -> bool:
        self.shape = tuple(shape)
        return True

    def set_tensor_address(self, name: str, address: int) -> bool:
        self.addresses[name] = address
        return True

    def infer_shapes(self) -> list[str]:
        return []

    def get_tensor_shape(self, _name: str) -> tuple[int, ...]:
        return self.shape

    def execute_async_v3(self, _stream: int) -> bool:
        count = int(np.prod(self.shape))
        x, y = (np.ctypeslib.as_array((ctypes.c_float * count).from_address(self.addresses[name])) for name in "xy")
        y[:] = x * 2
        if self.profiler is not None and self.enqueue_emits_profile:
            self.profiler.report_layer_time(COPY, 0.01)
            self.profiler.report_layer_time("mul", 0.03)
        return True


class Inspector:
    execution_context: Any = None

    def get_engine_information(self, _kind: int) -> str:
        def tensor(name: str) -> list[dict[str, Any]]:
            shape = list(self.execution_context.shape)
            return [{"Name": name, "Dimensions": shape, "Format/Datatype": "Row major linear FP32"}]

        copy = {"Name": COPY, "LayerType": "Reformat", "Inputs": tensor("x"), "Outputs": tensor("copied")}
        mul = {"Name": "mul", "LayerType": "PointWiseV2", "Inputs": tensor("copied"), "Outputs": tensor("y")}
        about = {"Metadata": "[ONNX Layer: mul]\x1e[ONNX Layer: mul]"}
        # raw control characters, as 8.6 writes them
        return json.dumps({"Layers": [copy, {**mul, **about}]}).replace("\\u001e", "\x1e")


class Engine:
    def create_execution_context(self) -> Context:
        return Context()

    def create_engine_inspector(self) -> Inspector:
        return Inspector()

    def get_tensor_dtype(self, _name: str) -> str:
        return "DataType.FLOAT"


class Runtime:
    def __init__(self, _logger: ILogger) -> None:
        pass

    def deserialize_cuda_engine(self, plan: bytes) -> Engine | None:
        return Engine() if plan else None
