"""ONNX files and plans as other tools write them, small enough for a test."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper
from small_graph import Dims, small_model


def model(
    nodes: Sequence[onnx.NodeProto],
    weights: dict[str, np.ndarray] | None = None,
    *,
    dims: Dims = ("n", 3, 8, 8),
    out: Dims | None = ("n", 4, 8, 8),
    dtype: int = TensorProto.FLOAT,
    opset: int = 17,
    ir_version: int = 8,
) -> onnx.ModelProto:
    """A model from ``x`` to ``y``."""
    types = {"x": dtype, "y": dtype}
    return small_model(nodes, {"x": dims}, {"y": out}, weights, types=types, opset=opset, ir_version=ir_version)


def convolution(**options: Any) -> onnx.ModelProto:
    """A convolution without a name, a sigmoid with one, and their product."""
    rng = np.random.default_rng(0)
    dtype = np.float16 if options.get("dtype") == TensorProto.FLOAT16 else np.float32
    weights = {"w": rng.normal(size=(4, 3, 3, 3)).astype(dtype), "b": rng.normal(size=4).astype(dtype)}
    nodes = [
        helper.make_node("Conv", ["x", "w", "b"], ["c"], pads=[1, 1, 1, 1]),
        helper.make_node("Sigmoid", ["c"], ["s"], name="gate"),
        helper.make_node("Mul", ["c", "s"], ["y"], name="product"),
    ]
    return model(nodes, weights, **options)


def quantised() -> onnx.ModelProto:
    """A matrix product between QuantizeLinear and DequantizeLinear, its weight stored in 8 bits."""
    rng = np.random.default_rng(0)
    weights = {
        "scale": np.array(0.03, np.float32),
        "zero": np.array(128, np.uint8),
        "w": rng.integers(-127, 127, size=(16, 12)).astype(np.int8),
        "w_scale": rng.uniform(0.001, 0.01, 12).astype(np.float32),
        "w_zero": np.zeros(12, np.int8),
    }
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "scale", "zero"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "scale", "zero"], ["d"]),
        helper.make_node("DequantizeLinear", ["w", "w_scale", "w_zero"], ["v"], axis=1),
        helper.make_node("MatMul", ["d", "v"], ["y"]),
    ]
    return model(nodes, weights, dims=("n", 16), out=("n", 12))


def saved(found: onnx.ModelProto, path: Path) -> Path:
    """Write a model to ``path``."""
    onnx.save(found, str(path))
    return path


def plan(tag: bytes = b"ftrt", version: tuple[int, ...] = (8, 6, 1, 6), number: int = 0, stated: int = 100) -> bytes:
    """The beginning of a plan of 100 bytes, in the layout that trtexec's source and TensorRT for RTX 1.7.1 have."""
    return (tag + struct.pack("<IIIQ4B", number, 2, 0, stated, *version)).ljust(100, b"\0")
