"""A half-precision graph rounds as its dtypes demand, which ONNX Runtime by itself does not do."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from small_graph import small_model

from attn2trt.engines.float32_kernels import float32_kernels
from attn2trt.engines.isolated import IsolatedRuntime
from attn2trt.engines.ort_runtime import OrtRuntime

TYPES = {"float16": TensorProto.FLOAT16, "bfloat16": TensorProto.BFLOAT16}


def up_and_down(folder: Path, dtype: str) -> Path:
    """``x * 256 / 256`` in half precision, float32 outside."""
    import ml_dtypes

    low = TYPES[dtype]
    scale = np.array(256, np.float16 if dtype == "float16" else ml_dtypes.bfloat16)
    nodes = [
        helper.make_node("Cast", ["x"], ["low"], to=low),
        helper.make_node("Mul", ["low", "scale"], ["up"]),
        helper.make_node("Div", ["up", "scale"], ["down"]),
        helper.make_node("Cast", ["down"], ["y"], to=TensorProto.FLOAT),
    ]
    onnx.save(small_model(nodes, {"x": ["n"]}, {"y": ["n"]}, {"scale": scale}), str(folder / "g.onnx"))
    return folder / "g.onnx"


@pytest.mark.parametrize("optimise", [False, True])
def test_an_overflow_between_two_operators_is_one(tmp_path: Path, optimise: bool) -> None:
    path = up_and_down(tmp_path, "float16")
    feeds = {"x": np.array([1.0, 1.0003, 300.0], np.float32)}
    with IsolatedRuntime(path, optimise=optimise, kernels="half") as runtime:
        assert runtime.run(feeds)["y"].tolist() == [1.0, 1.0, np.inf]
    with OrtRuntime(path, optimise=optimise) as runtime:
        assert np.isfinite(runtime.run(feeds)["y"]).all()  # what makes the rounding necessary


@pytest.mark.parametrize(("dtype", "rounded", "up"), [("float16", 1.0, np.inf), ("bfloat16", 1.0, 256.0 * 300)])
def test_values_that_are_shown_change_no_number(tmp_path: Path, dtype: str, rounded: float, up: float) -> None:
    """An output without a type, as whoever shows a value declares it, is rounded as it was before."""
    model = onnx.load(str(up_and_down(tmp_path, dtype)))
    model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in ("low", "up"))
    onnx.save(model, str(tmp_path / "shown.onnx"))
    with OrtRuntime(float32_kernels(tmp_path / "shown.onnx"), optimise=False) as runtime:
        found = runtime.run({"x": np.array([1.0003, 300.0], np.float32)})
    assert found["low"].tolist() == [rounded, 300.0]
    assert found["up"].tolist() == [256.0, up]
    assert found["y"].tolist() == [rounded, up / 256]
    assert found["up"].dtype == np.float32


def test_bfloat16_rounds_to_eight_bits(tmp_path: Path) -> None:
    model = float32_kernels(up_and_down(tmp_path, "bfloat16"))
    with OrtRuntime(model, optimise=False) as runtime:
        assert runtime.run({"x": np.array([1.003, 300.0], np.float32)})["y"].tolist() == [1.0, 300.0]
