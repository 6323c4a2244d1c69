"""Single operators, as the command of docs/tensorrt_operators.md asks for them, in the real builder."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper
from scripts import load_script
from small_graph import small_model

from attn2trt.core.graph import OnnxGraph
from attn2trt.core.refused_types import refusal
from attn2trt.core.tensor_spec import Axis, TensorSpec

X = TensorSpec("x", ("batch", 4, "height", 8))


@pytest.fixture
def benchmarks() -> Any:
    return SimpleNamespace(**{name: load_script(name) for name in ("operator_samples", "real_builder")})


def graph(folder: Path) -> OnnxGraph:
    """A transposed convolution, an activation, and a reshape whose target comes from sizes."""
    nodes = [
        helper.make_node("ConvTranspose", ["x", "weight"], ["a"], name="first", pads=[1, 1, 1, 1]),
        helper.make_node("HardSwish", ["a"], ["b"], name="second"),
        helper.make_node("Shape", ["x"], ["size"], name="third", start=0, end=2),
        helper.make_node("Concat", ["size", "last"], ["to"], name="fourth", axis=0),
        helper.make_node("Reshape", ["b", "to"], ["y"], name="fifth"),
    ]
    weights = {"weight": np.ones((4, 4, 3, 3), np.float32), "last": np.array([-1], np.int64)}
    path = folder / "given.onnx"
    onnx.save(small_model(nodes, {"x": X.shape}, {"y": ["batch", 4, None]}, weights), str(path))
    return OnnxGraph(path, 17, (X,), (), axes={"batch": Axis(1, 2, 4), "height": Axis(4, 8, 16)})


def test_a_sample_is_one_operator_with_what_its_integers_come_from(benchmarks: Any, tmp_path: Path) -> None:
    found = {one.operator: one for one in benchmarks.operator_samples.Sampler(graph(tmp_path)).samples(())}
    assert [*found] == ["ConvTranspose", "HardSwish", "Shape", "Concat", "Reshape"]
    reshape = found["Reshape"]
    assert [node.op_type for node in reshape.model.graph.node] == ["Shape", "Concat", "Reshape"]
    assert {spec.name: spec.shape for spec in reshape.inputs} == {
        "x": ("from_1_2_4", 4, "from_4_8_16", 8),
        "b": ("from_1_2_4", 4, "from_4_8_16", 8),
    }
    assert reshape.key == "Reshape(float32 rank 4, int64 rank 1)"
    known = [one.key for one in found.values()]
    assert [*benchmarks.operator_samples.Sampler(graph(tmp_path)).samples(known)] == known


@pytest.mark.tensorrt
def test_the_builder_takes_and_refuses_what_the_table_says(benchmarks: Any, tmp_path: Path) -> None:
    for sample in benchmarks.operator_samples.Sampler(graph(tmp_path)).samples(()):
        for precision in ("fp32", "fp16", "bf16"):
            path = benchmarks.operator_samples.write(sample, precision, tmp_path)
            if path is None:
                assert sample.operator == "Concat"  # of integers
                continue
            words, _ = benchmarks.real_builder.ask(path, precision, sample.inputs, sample.axes)
            assert bool(words) == bool(refusal(sample.operator, precision)), words


@pytest.mark.tensorrt
@pytest.mark.parametrize("operator", ["Cast", "QuantizeLinear"])
def test_what_the_passes_write_themselves_is_taken(benchmarks: Any, tmp_path: Path, operator: str) -> None:
    sample = benchmarks.operator_samples.written(operator)
    for precision in sample.precisions:
        path = benchmarks.operator_samples.write(sample, precision, tmp_path)
        types = {node.op_type for node in onnx.load(str(path)).graph.node}
        assert operator in types
        assert benchmarks.real_builder.ask(path, precision, sample.inputs, sample.axes)[0] == ""


def test_an_operator_that_no_export_writes_is_asked_as_onnx_describes_it(benchmarks: Any, tmp_path: Path) -> None:
    samples = benchmarks.operator_samples
    assert samples.from_schema("Mish").key == "Mish(float32 rank 4)"
    assert samples.from_schema("Einsum") is None  # its equation is required
    assert samples.from_schema("Gather") is None  # it reads integers
    assert samples.write(samples.from_schema("Mish"), "int8", tmp_path) is None


def test_a_refusal_is_quoted_without_what_surrounds_it(benchmarks: Any) -> None:
    message = "TensorRT for RTX 1.7.1 cannot read node n (Det) of module a.b: it has no operator Det; replace it"
    assert benchmarks.real_builder.short(message) == "it has no operator Det"
