"""Ranges of tensors: found by running the graph, by each method, and the same for the same inputs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper
from small_graph import small_model

from attn2trt.engines.calibration import BINS, LEVELS, METHODS, entropy_bins, find_ranges, percentile_bins
from attn2trt.errors import CheckFailed

SHAPE = (64, 64)


@pytest.fixture(scope="module")
def graph(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``y = relu(2 x) - 1``, with its inner tensor ``double``."""
    nodes = [
        helper.make_node("Mul", ["x", "two"], ["double"], name="double"),
        helper.make_node("Relu", ["double"], ["positive"], name="relu"),
        helper.make_node("Sub", ["positive", "one"], ["y"], name="sub"),
    ]
    sizes = ["batch", *SHAPE]
    model = small_model(nodes, {"x": sizes}, {"y": sizes}, {"two": np.float32(2), "one": np.float32(1)})
    path = tmp_path_factory.mktemp("graph") / "model.onnx"
    onnx.save(onnx.shape_inference.infer_shapes(model), str(path))
    return path


def inputs() -> list[dict[str, np.ndarray]]:
    """Ordinary numbers in batches of two sizes, and one that is far out."""
    rng = np.random.default_rng(0)
    batches = [rng.standard_normal((rows, *SHAPE), np.float32) for rows in (2, 3)]
    batches[1][0, 0, 0] = -40
    return [{"x": batch} for batch in batches]


def test_minmax_is_the_largest_magnitude_of_inputs_and_inner_tensors(graph: Path) -> None:
    found = find_ranges(graph, ["x", "double", "positive"], inputs)
    assert found["x"] == 40
    assert found["double"] == 80
    positive = 2 * max(float(feeds["x"].max()) for feeds in inputs())
    assert found["positive"] == pytest.approx(positive)


def test_the_other_methods_leave_out_what_is_far_out(graph: Path) -> None:
    for method in set(METHODS) - {"minmax"}:
        found = find_ranges(graph, ["double"], inputs, method=method)
        assert 4 < found["double"] < 12, method
        assert find_ranges(graph, ["double"], inputs, method=method) == found


def test_one_of_two_convolutions_that_are_added_is_seen_as_the_graph_has_it(tmp_path: Path) -> None:
    """ONNX Runtime's optimiser puts the sum into the second of them, and loses the first if it is an output."""
    ones = {name: np.ones((32, 1, 1, 1), np.float32) for name in ("v", "w")}
    nodes = [helper.make_node("Conv", ["x", name, "bias"], [f"{name}x"], name=name, group=16) for name in ones]
    nodes.append(helper.make_node("Add", ["vx", "wx"], ["y"], name="add"))
    sizes, weights = ["batch", 16, 4, 4], {**ones, "bias": np.zeros(32, np.float32)}
    onnx.save(
        onnx.shape_inference.infer_shapes(small_model(nodes, {"x": sizes}, {"y": ["batch", 32, 4, 4]}, weights)),
        tmp_path / "m.onnx",
    )
    feeds = {"x": np.full((1, 16, 4, 4), 3, np.float32)}
    assert find_ranges(tmp_path / "m.onnx", ["vx"], lambda: [feeds]) == {"vx": 3}


def test_a_tensor_of_zeros_has_the_range_zero(graph: Path) -> None:
    def zeros() -> list[dict[str, np.ndarray]]:
        return [{"x": np.zeros((1, *SHAPE), np.float32)}]

    for method in METHODS:
        assert find_ranges(graph, ["x", "double"], zeros, method=method) == {"x": 0, "double": 0}


def test_a_tensor_that_is_not_finite_is_an_error(graph: Path) -> None:
    def overflow() -> list[dict[str, np.ndarray]]:
        return [{"x": np.full((1, *SHAPE), 3e38, np.float32)}]

    with pytest.raises(CheckFailed, match=r"tensor double is not finite on a calibration input"):
        find_ranges(graph, ["double"], overflow)


def test_a_percentile_counts_bins() -> None:
    counts = np.zeros(BINS)
    counts[:100] = 1e6
    counts[-1] = 1
    assert percentile_bins(counts) == 100


def test_entropy_keeps_a_flat_distribution_whole_and_cuts_a_long_tail() -> None:
    assert entropy_bins(np.ones(BINS)) == BINS
    tail = np.exp(-np.arange(BINS) / 40) * 1e6
    assert LEVELS <= entropy_bins(tail) < BINS / 2
    assert entropy_bins(np.zeros(BINS)) == LEVELS
