"""ONNX Runtime's profile gives the time of each node, and a fused node gets its module."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper
from small_graph import small_model

from attn2trt.core.tensor_spec import TensorSpec
from attn2trt.engines.node_times import LAYOUT, node_homes, read_node_times
from attn2trt.engines.ort_runtime import CPU, OPTIMISED, OrtRuntime
from attn2trt.engines.timing.method import Limits
from attn2trt.engines.timing.runners import OrtRunner
from attn2trt.engines.timing.timed_process import TimedProcess

SHAPE = [1, 16, 8, 8]
HOMES = {"conv": "layer1.conv", "relu": "layer1.act", "mean": "layer1.se", "gate": "layer1.se"}


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A convolution with its activation, and a gate that leaves the convolution's layout."""
    weight = np.random.default_rng(0).standard_normal((16, 16, 3, 3)).astype(np.float32)
    path = tmp_path / "model.onnx"
    onnx.save(
        small_model(
            [
                helper.make_node("Conv", ["x", "w"], ["c"], name="conv", pads=[1] * 4),
                helper.make_node("Relu", ["c"], ["a"], name="relu"),
                helper.make_node("ReduceMean", ["a"], ["m"], name="mean", axes=[2, 3]),
                helper.make_node("Mul", ["a", "m"], ["y"], name="gate"),
            ],
            {"x": SHAPE},
            {"y": SHAPE},
            {"w": weight},
        ),
        path,
    )
    return path


def test_every_node_of_every_call_is_reported(model: Path, tmp_path: Path) -> None:
    with OrtRuntime(model, threads=1, profile=tmp_path) as runtime:
        for _ in range(3):
            runtime.run({"x": np.zeros(SHAPE, np.float32)})
        found = read_node_times(runtime.end_profile())
    assert found.microseconds.shape == (3, len(found.names))
    assert {"ReduceMean", "Mul"} <= set(found.kinds)
    homes = node_homes(model, tmp_path / OPTIMISED, HOMES)
    told = dict(zip(found.names, found.kinds, strict=True))
    # fused or not, in whatever layout this processor's convolutions take
    assert set(told) <= set(homes)
    assert {homes[name] for name, kind in told.items() if kind in ("ReduceMean", "Mul")} == {"layer1.se"}
    assert {homes[name] for name, kind in told.items() if "Conv" in kind} == {"layer1.act"}
    assert {homes[name] for name, kind in told.items() if kind in LAYOUT} <= {"layer1.act"}


def test_a_process_of_its_own_tells_the_same(model: Path, tmp_path: Path) -> None:
    with TimedProcess(OrtRunner(model, CPU, tmp_path), threads=1) as process:
        process.prepare((TensorSpec("x", tuple(SHAPE)),), {}, sets=2)
        process.turn(Limits(0, 4, 1), hot=False)
        found = process.node_times()
    # one call that prepares, one that settles
    assert len(found.microseconds) == 2 + 4
    assert "ReduceMean" in found.kinds


def test_a_call_that_did_not_end_is_not_counted(tmp_path: Path) -> None:
    profile = tmp_path / "profile.json"
    node = '{"cat": "Node", "name": "n_kernel_time", "dur": 5, "args": {"op_name": "Mul"}}'
    profile.write_text(f'[{node}, {node}, {{"cat": "Session", "name": "model_run", "dur": 9}}, {node}]')
    found = read_node_times(profile)
    assert found.names == ("n",)
    assert found.microseconds.tolist() == [[10]]
