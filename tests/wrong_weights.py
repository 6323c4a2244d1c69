"""Graphs with a weight that is a factor too large, which a verdict has to find."""

from __future__ import annotations

from pathlib import Path

import onnx
from onnx import numpy_helper


def scale(weight: onnx.TensorProto, factor: float) -> None:
    """Make a weight so many times as large."""
    weight.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(weight) * factor, weight.name))


def scale_largest(model: Path, factor: float, *, to: Path | None = None) -> None:
    """Make the largest weight of a file so many times as large, there or in another file."""
    loaded = onnx.load(model)
    scale(max(loaded.graph.initializer, key=lambda tensor: len(tensor.raw_data)), factor)
    onnx.save(loaded, to or model)
