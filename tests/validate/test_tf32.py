"""tf32: PyTorch with shortened operands loses what the graph loses on such kernels, and its limit was measured."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from attn2trt.core.graph import OnnxGraph
from attn2trt.core.precision import LOWER
from attn2trt.engines.isolated import IsolatedRuntime
from attn2trt.errors import InputError, ModuleRefused
from attn2trt.export.deploy_files import trtexec_lines
from attn2trt.export.tf32 import allow_tf32
from attn2trt.validate.cases import Case
from attn2trt.validate.eager import Eager
from attn2trt.validate.stages.stage import ORT_CPU, lower_stages
from attn2trt.validate.tf32 import CUT_OFF, NEAREST, Tf32
from attn2trt.workflows.deploy import deploy
from attn2trt.workflows.options import PrecisionRequest
from attn2trt.workflows.validate import validate_bundle
from attn2trt.workflows.verify import verify_bundle

RESULTS = Path(__file__).parents[2] / "benchmarks/results/tf32_limit.json"
NUMBERS = np.array([1 + 2**-11 + 2**-20, 1 + 2**-12, 3.1415927, -1.2345678e-20, 65504.5, 1.7e30, 0.0], np.float32)


def run(module: nn.Module, x: np.ndarray, draw: int = NEAREST) -> np.ndarray:
    case = Case.of("traced", {"x": x})
    return Eager(module.eval(), (), 0, is_double=False).run_lower(case.feeds, case, Tf32(), draw)["output"]


def shortened(x: np.ndarray, rounding: np.ufunc) -> np.ndarray:
    """Eleven significant bits, by arithmetic."""
    exponents = np.floor(np.log2(np.abs(np.where(x == 0, 1, x)).astype(np.float64)))
    unit = 2.0 ** (exponents - 10)
    found: np.ndarray = (rounding(x / unit) * unit).astype(np.float32)
    return found


def ones(kind: str) -> nn.Module:
    """A layer that gives what it reads."""
    layer = nn.Conv2d(1, 1, 1, bias=False) if kind == "conv" else nn.Linear(1, 1, bias=False)
    nn.init.ones_(layer.weight)
    return layer


@pytest.mark.parametrize("kind", ["conv", "linear"])
def test_operands_have_eleven_significant_bits(kind: str) -> None:
    x = NUMBERS.reshape(1, 1, 1, -1) if kind == "conv" else NUMBERS.reshape(-1, 1)
    np.testing.assert_array_equal(run(ones(kind), x, NEAREST), shortened(x, np.rint))
    np.testing.assert_array_equal(run(ones(kind), x, CUT_OFF), shortened(x, np.trunc))


class Attention(nn.Module):
    """Scores, a softmax and a sum, as one call."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return nn.functional.scaled_dot_product_attention(x, 3 * x, x + 1)


def test_attention_is_two_products_and_a_sum_is_none() -> None:
    x = np.random.default_rng(0).standard_normal((1, 2, 8, 4), dtype=np.float32)
    exact = Attention()(torch.from_numpy(x)).numpy()
    assert 1e-5 < np.abs(run(Attention(), x) - exact).max() < 1e-2
    np.testing.assert_array_equal(run(nn.ReLU(), x), np.maximum(x, 0))


def graph(folder: Path, *kinds: str) -> OnnxGraph:
    """x times a weight, by each kind of product, all added up."""
    nodes = [helper.make_node(kind, ["x", "w"], [kind], name=kind) for kind in kinds]
    nodes.append(helper.make_node("Sum", list(kinds) or ["x"], ["y"], name="sum"))
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [7, 1]) for name in ("x", "y")]
    weight = numpy_helper.from_array(np.ones((1, 1), np.float32), "w")
    model = helper.make_model(helper.make_graph(nodes, "g", values[:1], values[1:], [weight]), ir_version=8)
    model.opset_import[0].version = 17
    onnx.save(model, str(folder / "model.onnx"))
    return OnnxGraph(folder / "model.onnx", 17, (), ())


def test_a_runtime_without_tf32_computes_as_if_it_had_it(tmp_path: Path) -> None:
    x = NUMBERS.reshape(-1, 1)
    made = graph(tmp_path, "MatMul", "Gemm")
    with IsolatedRuntime(made.path, optimise=False, kernels="tf32") as runtime:
        np.testing.assert_array_equal(runtime.run({"x": x})["y"], 2 * shortened(x, np.rint))
    with IsolatedRuntime(made.path, optimise=False) as runtime:
        np.testing.assert_array_equal(runtime.run({"x": x})["y"], 2 * x)


def test_the_graph_is_the_float32_one_and_trtexec_is_allowed_tf32(tmp_path: Path) -> None:
    low = allow_tf32(graph(tmp_path, "MatMul"))
    assert (low.lowered, dict(low.float32), low.lowered_modules) == (("MatMul",), {"sum": "not a product"}, {})
    assert low.files == ()
    lines = trtexec_lines(low, (), {})
    assert set(lines.values()) == {"trtexec --onnx=model.onnx --saveEngine=model.tf32.plan"}
    with pytest.raises(ModuleRefused, match="tf32 changes nothing: the graph has no convolution"):
        allow_tf32(graph(tmp_path))


def test_tf32_holds_for_a_whole_network() -> None:
    with pytest.raises(InputError, match="--keep-fp32 'stem' with tf32 alone; expected a lower precision"):
        PrecisionRequest(precisions="fp32,tf32", keep_fp32=["stem"])
    assert PrecisionRequest(precisions="tf32,fp16", keep_fp32=["stem"]).keep_fp32 == ["stem"]
    for refused in (Tf32().without, Tf32().only):
        with pytest.raises(ValueError, match="holds for the whole network"):
            refused(["stem"])
    assert Tf32().without([]) == Tf32()


def test_a_bundle_is_judged_in_tf32_and_again_without_pytorch(tmp_path: Path) -> None:
    options: dict[str, Any] = {"dynamic": "batch=1:2:3", "precision": "fp32,tf32", "capabilities": "none"}
    bundle = deploy("cbam", shapes=["2x16x12x12"], out=tmp_path / "cbam", **options)
    assert [stage.label for stage in lower_stages("tf32")] == ["tf32"]
    entry = bundle.manifest["precisions"]["tf32"]
    assert (entry["file"], bundle.graph_files) == ("model.onnx", ["model.onnx"])
    assert "--noTF32" in bundle.manifest["trtexec"]
    assert all("TF32" not in line for line in entry["trtexec"].values())
    for verdict in (bundle.manifest["verdict"], validate_bundle(bundle.path).to_json()):
        stages = {stage["stage"]: stage for stage in verdict["stages"]}
        largest = {name: max(found["error"] for found in stages[name]["comparisons"]) for name in ("tf32", ORT_CPU)}
        assert stages["tf32"]["status"] == "passed"
        assert largest["tf32"] > 100 * largest[ORT_CPU]
    assert all(finding.ok for finding in verify_bundle(bundle.path))


def test_the_limit_is_what_was_measured() -> None:
    told = json.loads(RESULTS.read_text())
    allowed = LOWER["tf32"]
    assert told["largest"] <= allowed.healthy < allowed.limit
    assert (told["healthy"], told["limit"], told["budget"]) == (allowed.healthy, allowed.limit, allowed.budget)
    assert told["alarms"] == []
    assert told["verdicts"] >= 20
