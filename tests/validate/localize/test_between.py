"""Two runtimes of one graph, compared without PyTorch."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper
from small_graph import small_model

from attn2trt.engines.ort_runtime import OrtRuntime
from attn2trt.validate.cases import Case
from attn2trt.validate.localize.between import Side, locate_between, nudged

MODULES = {"conv": "stem.conv", "relu": "stem.act", "gate": "attn", "scale": "attn", "last": "head"}


def graph(path: Path, *, gate: str = "Sigmoid") -> Path:
    rng = np.random.default_rng(0)
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], name="conv", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c"], ["r"], name="relu"),
        helper.make_node(gate, ["r"], ["g"], name="gate"),
        helper.make_node("Mul", ["r", "g"], ["m"], name="scale"),
        helper.make_node("Conv", ["m", "v"], ["y"], name="last"),
    ]
    weights = {
        "w": rng.standard_normal((4, 3, 3, 3)).astype(np.float32),
        "v": rng.standard_normal((2, 4, 1, 1)).astype(np.float32),
    }
    onnx.save(small_model(nodes, {"x": ["n", 3, 8, 8]}, {"y": ["n", 2, 8, 8]}, weights), str(path))
    return path


@pytest.fixture
def case() -> Case:
    return Case.of("traced", {"x": np.random.default_rng(1).standard_normal((2, 3, 8, 8)).astype(np.float32)})


def test_equal_runtimes_are_not_blamed(tmp_path: Path, case: Case) -> None:
    right = graph(tmp_path / "a.onnx")
    production = Side(right, lambda path: OrtRuntime(path, optimise=True))
    assert locate_between(Side(right), production, case, MODULES) is None


def test_the_first_module_and_node_that_differ_are_named_and_proven(tmp_path: Path, case: Case) -> None:
    right, wrong = graph(tmp_path / "a.onnx"), graph(tmp_path / "b.onnx", gate="HardSigmoid")
    found = locate_between(Side(right), Side(wrong), case, MODULES)
    assert found is not None
    assert (found.module, found.node, found.op_type) == ("attn", "gate", "HardSigmoid")
    assert found.proven
    assert found.ratio > 8
    assert str(found).startswith("first wrong in attn, ONNX node gate (HardSigmoid); the node alone")


def test_a_runtime_that_is_wrong_only_unobserved_is_reported(tmp_path: Path, case: Case) -> None:
    right = graph(tmp_path / "a.onnx")
    wrong = graph(tmp_path / "b.onnx", gate="HardSigmoid")

    def opener(path: Path) -> OrtRuntime:
        outputs = {output.name for output in onnx.load(str(path), load_external_data=False).graph.output}
        return OrtRuntime(wrong if outputs == {"y"} else path, optimise=False)

    found = locate_between(Side(right), Side(right, opener), case, MODULES)
    assert found is not None
    assert "makes the difference vanish" in found.detail
    assert not found.proven


def test_inputs_move_by_roundings_only() -> None:
    feeds = {"x": np.linspace(-3, 3, 100, dtype=np.float32), "ids": np.arange(3)}
    moved = nudged(feeds)
    assert np.array_equal(moved["ids"], feeds["ids"])
    assert 0 < np.abs(moved["x"] / feeds["x"] - 1).max() < 1e-6


def test_pytorch_is_not_needed() -> None:
    code = "import sys; sys.modules['torch'] = None; import attn2trt.validate.localize.between; print('fine')"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "fine"
