"""Sums are added up in the order of ONNX Runtime's kernels, whichever axes they go over."""

from __future__ import annotations

import numpy as np
import onnxruntime as ort
import pytest
from onnx import helper
from small_graph import small_model

from attn2trt.validate.sums import sum_in_lanes, sum_in_order, sum_over

Axes = tuple[int, ...]


def lost(total: np.ndarray, count: int) -> float:
    """What a sum of ``count`` numbers of 0.7 loses, in roundings."""
    return float(np.abs(total / (count * np.float64(np.float32(0.7))) - 1).max() * 2**24)


def lost_by_onnx_runtime(shape: Axes, axes: Axes) -> float:
    node = helper.make_node("ReduceSum", ["x", "axes"], ["y"])
    model = small_model([node], {"x": shape}, {"y": None}, {"axes": np.array(axes)})
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    total = session.run(None, {"x": np.full(shape, 0.7, np.float32)})[0]
    return lost(total, int(np.prod(shape)) // total.size)


@pytest.mark.parametrize(
    ("shape", "axes"),
    [
        ((2, 4096), (1,)),
        ((1, 1, 300, 300), (2, 3)),
        ((64, 64), (0, 1)),
        ((4096, 3), (0,)),
        ((4096, 1), (0,)),
        ((1, 4096, 3), (1,)),
        ((2, 4096, 3), (1,)),
        ((2, 64, 64, 3), (1, 2)),
        ((2, 4095, 1), (1,)),
        ((2, 64, 3, 64), (1, 3)),
        ((1, 64, 3, 64), (1, 3)),
        ((64, 3, 64, 2), (0, 2)),
        ((64, 1, 64), (0, 2)),
    ],
)
def test_a_sum_loses_what_that_of_onnx_runtime_does(shape: Axes, axes: Axes) -> None:
    kept = [size for axis, size in enumerate(shape) if axis not in axes]
    total = sum_over(shape, axes)(np.full((*kept, np.prod(shape) // np.prod(kept, dtype=int)), 0.7, np.float32))
    assert total.shape == tuple(kept)
    assert lost(total, int(np.prod(shape)) // total.size) == pytest.approx(lost_by_onnx_runtime(shape, axes), abs=2)


def test_a_sum_around_an_axis_lies_between_the_orders_that_threads_decide() -> None:
    equal = np.full((3, 4096), 0.7, np.float32)
    total = sum_over((64, 3, 64), (0, 2))(equal)
    assert lost_by_onnx_runtime((64, 3, 64), (0, 2)) < lost(total, 4096) < lost(sum_in_order(equal), 4096)


def test_every_number_counts_once() -> None:
    assert sum_in_lanes(np.ones((3, 13), np.float32)).tolist() == [13, 13, 13]
    assert sum_in_order(np.ones((3, 13), np.float32), at_once=4).tolist() == [13, 13, 13]
