"""Integers in the graph: what is quantised and what is not, how pairs are shared, and that any change is found."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from small_graph import graph_file, small_model

from attn2trt.core.graph import OnnxGraph
from attn2trt.core.precision import QUANTISED
from attn2trt.engines.ort_runtime import OrtRuntime
from attn2trt.errors import CheckFailed, InputError, ModuleRefused
from attn2trt.export.deploy_files import trtexec_lines
from attn2trt.export.passes import quantize as writing
from attn2trt.export.passes.quantize_policy import COMPUTED, ONCE, OTHERS, QuantizePlan, plan_quantized
from attn2trt.export.precision import float32_source
from attn2trt.export.precision_options import PrecisionOptions
from attn2trt.export.quantized import QuantizedGraph, parameter_of, quantize
from attn2trt.export.quantized_check import check_quantized

# A gate between two convolutions that read the same map, a product of two maps, and a linear layer on pixels.
# what the module would call them; the linear layer of pixels computes its weight
PARAMETERS = {name: np.zeros(1, np.float32) for name in ("w", "v", "s")}
MODULES = {"first": "stem", "second": "block.conv", "squeeze": "block.gate.fc", "pixels": "head"}


def write(folder: Path) -> OnnxGraph:
    """A graph from x to y, opset 17."""
    rng = np.random.default_rng(0)
    arrays = {
        "w": rng.standard_normal((4, 4, 3, 3), np.float32),
        "v": rng.standard_normal((4, 4, 1, 1), np.float32),
        "s": rng.standard_normal((4, 4), np.float32),
        "l": rng.standard_normal((4, 6), np.float32),
        "axes": np.array([2, 3]),
    }
    arrays["v"][2] = 0  # a dead channel
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["a"], name="first", pads=[1, 1, 1, 1]),
        helper.make_node("Conv", ["x", "v"], ["b"], name="second"),
        helper.make_node("ReduceMean", ["b"], ["mean"], name="pool", axes=[2, 3], keepdims=0),
        helper.make_node("Gemm", ["mean", "s"], ["fc"], name="squeeze", transB=1),
        helper.make_node("Unsqueeze", ["fc", "axes"], ["gate"], name="shape"),
        helper.make_node("Mul", ["a", "gate"], ["gated"], name="gating"),
        helper.make_node("MatMul", ["gated", "b"], ["scores"], name="scores"),
        helper.make_node("Transpose", ["scores"], ["last"], name="channels_last", perm=[0, 2, 3, 1]),
        helper.make_node("MatMul", ["last", "l"], ["y"], name="pixels"),
    ]
    model = small_model(nodes, {"x": ["batch", 4, 8, 8]}, {"y": ["batch", 8, 8, 6]}, arrays)
    return graph_file(model, folder / "model.onnx", modules=MODULES)


def ranges(tensors: Sequence[str]) -> Mapping[str, float]:
    return {name: {"x": 2.54, "last": 12.7}[name] for name in tensors}


def quantized(folder: Path, keep: Sequence[str] = (), **options: Any) -> QuantizedGraph:
    return quantize(
        write(folder),
        ranges,
        folder,
        options=PrecisionOptions(keep),
        **{"parameters": PARAMETERS, "calibration": "two numbers", "form": QUANTISED["int8"], **options},
    )


def policy(folder: Path, kept: str = "") -> QuantizePlan:
    import onnx_ir as ir

    return plan_quantized(ir.load(str(write(folder).path)), lambda node: "asked for" if node == kept else "")


def test_products_with_a_weight_are_quantised_and_a_gates_are_not(tmp_path: Path) -> None:
    found = policy(tmp_path)
    assert [(one.node, one.tensor, one.weight, one.axis) for one in found.quantized] == [
        ("first", "x", "w", 0),
        ("second", "x", "v", 0),
        ("pixels", "last", "l", 1),
    ]
    assert (found.float32["squeeze"], found.float32["scores"], found.float32["gating"]) == (ONCE, COMPUTED, OTHERS)
    assert dict(found.products) == {
        "first": ("w", 0),
        "second": ("v", 0),
        "squeeze": ("s", 0),
        "scores": ("", 1),
        "pixels": ("l", 1),
    }
    assert policy(tmp_path, "second").kept == {"second": "asked for"}


def stored(folder: Path) -> dict[str, np.ndarray]:
    tensors = onnx.load(str(write(folder).path)).graph.initializer
    return {one.name: numpy_helper.to_array(one) for one in tensors if one.name in "wvl"}


LARGEST = {"x": 2.0, "last": 10.0}


def test_a_product_of_a_copied_layer_is_one_that_pytorch_runs(tmp_path: Path) -> None:
    """The graph names the weight by the first of two layers with equal numbers, and PyTorch runs the other."""
    known = stored(tmp_path)
    how: dict[str, Any] = {"parameters": known | {"copy": known["w"]}, "largest": LARGEST}
    others = [("v", "block.conv", 2.0), ("l", "head", 10.0)]
    whole = quantized(tmp_path, parameters=how["parameters"]).lowered
    assert "first" in whole
    assert quantized(tmp_path, run=[("copy", "elsewhere", 2.0), *others], **how).lowered == whole
    assert "first" not in quantized(tmp_path, run=others, **how).lowered


@pytest.mark.parametrize(
    ("sizes", "scales"),
    [
        ((2.0,), (0.02,)),
        ((2.01,), (0.02,)),
        ((math.nan,), (0.02,)),  # pixels that PyTorch gathers
        ((7.0, 2.0), (None, 0.02)),
        ((2.0, 2.0), (0.02, 0.02)),  # two that read the same are one in the graph
        ((12.0,), None),  # a factor that the graph has in its weight
    ],
)
def test_a_product_of_pytorch_has_the_step_of_the_one_that_reads_the_same(
    sizes: tuple[float, ...], scales: tuple[float | None, ...] | None, tmp_path: Path
) -> None:
    run = [("v", "block.conv", 2.0), ("l", "head", 10.0), *(("w", f"part{at}", size) for at, size in enumerate(sizes))]
    low = quantized(tmp_path, parameters=stored(tmp_path), run=run, largest=LARGEST)
    assert ("first" in low.lowered) == (scales is not None)
    assert low.scales["w"] == pytest.approx(scales or (None,))
    assert low.ran_by["w"] == tuple(f"part{at}" for at in range(len(sizes)))
    if scales is None:
        assert "stem stays in float32: PyTorch computes it by other operators" in " ".join(low.notes)


def test_products_of_a_weight_come_in_the_order_of_pytorch(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Mul", ["x", "large"], ["far"], name="factor"),
        helper.make_node("Conv", ["far", "w"], ["a"], name="first"),
        helper.make_node("Conv", ["x", "w"], ["b"], name="second"),
        helper.make_node("Add", ["a", "b"], ["y"], name="sum"),
    ]
    arrays = {"w": stored(tmp_path)["v"], "large": np.array(50, np.float32)}
    model = small_model(nodes, {"x": ["batch", 4, 8, 8]}, {"y": ["batch", 4, 8, 8]}, arrays)
    sizes = {"x": 1.27, "far": 63.5}
    low = quantize(
        graph_file(model, tmp_path / "two.onnx"),
        lambda names: {name: sizes[name] for name in names},
        tmp_path,
        parameters={"w": arrays["w"]},
        calibration="",
        form=QUANTISED["int8"],
        run=[("w", "here", 1.27), ("w", "there", 63.5)],
        largest=sizes,
    )
    assert low.scales["w"] == (pytest.approx(0.01), pytest.approx(0.5))


def test_what_tensorrt_refuses_in_the_format_is_not_quantised(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("attn2trt.core.refused_types.REFUSED", {"fp8": {"Conv": "no kernel"}})
    low = quantized(tmp_path, form=QUANTISED["fp8"])
    assert low.lowered == ("pixels",)
    assert low.float32["first"] == "TensorRT refuses Conv in fp8: no kernel"
    assert len(quantized(tmp_path).lowered) == 3


def test_one_pair_serves_all_products_that_read_a_tensor(tmp_path: Path) -> None:
    low = quantized(tmp_path)
    nodes = onnx.load(str(low.graph.path)).graph.node
    assert [node.name for node in nodes if node.op_type == "QuantizeLinear"] == [
        *("quantize_x", "quantize_w", "quantize_v", "quantize_last", "quantize_l_1"),
    ]
    assert (len(low.lowered), low.oldest_tensorrt, low.notes) == (3, "8.6", ["ranges from two numbers"])
    assert low.graph.modules["dequantize_x"] == "stem"
    assert low.to_json()["ranges"] == {"x": 2.54, "last": 12.7}
    scale = pytest.approx(0.02)
    assert low.scales == {"w": (scale,), "v": (scale,), "s": (None,), "": (None,), "head": (pytest.approx(0.1),)}


def test_the_graph_computes_on_levels(tmp_path: Path) -> None:
    low = quantized(tmp_path, keep=["head"])
    assert "head" in low.notes[1]
    x = np.random.default_rng(1).uniform(-3, 3, (2, 4, 8, 8)).astype(np.float32)
    model = onnx.load(str(low.graph.path))
    arrays = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    for name, axis in (("w", 0), ("v", 0)):
        scales = arrays[f"{name}_scale"].reshape(-1, 1, 1, 1)
        assert axis == 0
        arrays[name] = (np.round(arrays[name] / scales) * scales).astype(np.float32)
    assert arrays["v_scale"][2] == 1
    on_levels = (np.clip(np.round(x / np.float32(0.02)), -128, 127) * np.float32(0.02)).astype(np.float32)
    source = onnx.load(str(tmp_path / "model.onnx"))
    for tensor in source.graph.initializer:
        tensor.CopyFrom(numpy_helper.from_array(arrays[tensor.name], tensor.name))
    onnx.save(source, str(tmp_path / "by_hand.onnx"))
    with OrtRuntime(low.graph.path, optimise=False) as ours, OrtRuntime(tmp_path / "by_hand.onnx") as by_hand:
        wanted = by_hand.run({"x": on_levels})["y"]
        np.testing.assert_allclose(ours.run({"x": x})["y"], wanted, rtol=1e-4, atol=1e-4 * np.abs(wanted).max())


def test_fp8_has_one_scale_for_a_weight_and_needs_a_later_opset(tmp_path: Path) -> None:
    low = quantized(tmp_path, form=QUANTISED["fp8"])
    model = onnx.load(str(low.graph.path))
    tensors = {tensor.name: tensor for tensor in model.graph.initializer}
    assert {tensors[f"{name}_zero"].data_type for name in ("x", "w", "l_1")} == {TensorProto.FLOAT8E4M3FN}
    assert {tuple(tensors[f"{name}_scale"].dims) for name in ("x", "w", "l_1")} == {()}
    weight = numpy_helper.to_array(tensors["w"])
    assert numpy_helper.to_array(tensors["w_scale"]) == np.float32(np.abs(weight).max().astype(np.float64) / 448)
    assert (low.graph.opset, low.graph.path.name, low.oldest_tensorrt) == (19, "model.fp8.onnx", "10.0")
    assert low.notes[1].startswith("opset 19 instead of 17, the lowest whose operators take fp8")
    assert [*trtexec_lines(low, write(tmp_path).inputs, {})] == ["10", "11"]
    products = policy(tmp_path).quantized
    with pytest.raises(CheckFailed, match=r"quantize_x (has other scales than its range gives|is not int8)"):
        check_quantized(
            float32_source(write(tmp_path), 19), low.graph.path, products, ranges(["x", "last"]), QUANTISED["int8"]
        )
    scale, zero = ("x_scale", "x_zero")
    integers = helper.make_tensor(zero, TensorProto.INT8, [], [0])
    tensors[zero].CopyFrom(integers)
    assert numpy_helper.to_array(tensors[scale]) == np.float32(2.54 / 448)
    onnx.save(model, str(tmp_path / "changed.onnx"))
    with pytest.raises(CheckFailed, match="quantize_x is not fp8"):
        check_quantized(
            float32_source(write(tmp_path), 19),
            tmp_path / "changed.onnx",
            products,
            ranges(["x", "last"]),
            QUANTISED["fp8"],
        )


def test_trtexec_obeys_the_pairs(tmp_path: Path) -> None:
    lines = trtexec_lines(quantized(tmp_path), write(tmp_path).inputs, {})
    assert {version: line.split("model.int8.plan")[1].split() for version, line in lines.items()} == {
        "8.6": ["--noTF32", "--int8"],
        "10": ["--noTF32", "--stronglyTyped"],
        "11": ["--noTF32"],
    }


def test_a_graph_of_opset_11_is_raised_to_one_with_a_scale_for_each_channel(tmp_path: Path) -> None:
    model = small_model(
        [helper.make_node("Conv", ["x", "w"], ["y"], name="conv", pads=[1, 1, 1, 1])],
        {"x": ["batch", 4, 8, 8]},
        {"y": ["batch", 8, 8, 8]},
        {"w": np.random.default_rng(0).normal(size=(8, 4, 3, 3)).astype(np.float32)},
        opset=11,
    )
    graph = graph_file(model, tmp_path / "model.onnx")
    how = {"calibration": "a number", "form": QUANTISED["int8"]}
    low = quantize(graph, lambda _: {"x": 2.54}, tmp_path, parameters={}, **how)
    assert low.graph.opset == 13
    assert low.notes[1].startswith("opset 13 instead of 11, the lowest whose operators take int8")


@pytest.mark.parametrize("largest", [0.0, 1e-44])
def test_what_is_always_zero_stays_in_float32_and_with_nothing_left_int8_is_refused(
    tmp_path: Path, largest: float
) -> None:
    found = quantize(
        write(tmp_path),
        lambda names: dict(ranges(names), x=largest),
        tmp_path,
        parameters={},
        calibration="",
        form=QUANTISED["int8"],
    )
    assert len(found.lowered) == 1
    assert any(
        note.startswith(f"stem stays in float32: what it reads was {largest:g} on every input") for note in found.notes
    )
    with pytest.raises(ModuleRefused, match=r"int8 leaves nothing to quantise: none of 5 .* --keep-fp32"):
        quantized(tmp_path, keep=["stem", "block", "head"])
    with pytest.raises(InputError, match=r"received --keep-fp32 'haed', which no module .* head"):
        quantized(tmp_path, keep=["haed"])


def node(model: onnx.ModelProto, name: str) -> onnx.NodeProto:
    return next(node for node in model.graph.node if node.name == name)


def scaled(model: onnx.ModelProto, name: str, factor: float) -> None:
    tensor = next(tensor for tensor in model.graph.initializer if tensor.name == name)
    array = numpy_helper.to_array(tensor)
    tensor.CopyFrom(numpy_helper.from_array((array * factor + (factor == 0)).astype(array.dtype), name))


def unquantised(model: onnx.ModelProto) -> None:
    node(model, "second").input[0] = "x"


def other_axis(model: onnx.ModelProto) -> None:
    for name in ("quantize_w", "dequantize_w"):
        node(model, name).attribute[0].i = 1


def quantised_gate(model: onnx.ModelProto) -> None:
    node(model, "gating").input[0] = "last_dequantized"


def other_scale_back(model: onnx.ModelProto) -> None:
    node(model, "dequantize_x").input[1] = "last_scale"


CHANGES: dict[str, Callable[[onnx.ModelProto], None]] = {
    "input 0 of node second is not quantised": unquantised,
    "quantize_w has its scales along axis 1": other_axis,
    "input 0 of node gating comes from last_dequantized": quantised_gate,
    "quantize_x and dequantize_x have different scales": other_scale_back,
    "quantize_x has other scales than its range gives": lambda model: scaled(model, "x_scale", 1.01),
    "quantize_v has other scales than its range gives": lambda model: scaled(model, "v_scale", 1.01),
    "quantize_x does not have zero at zero": lambda model: scaled(model, "x_zero", 0),
    "constant w_dequantized of node first": lambda model: scaled(model, "w", 1.01),
    "input 1 of node pixels is not quantised": lambda model: node(model, "pixels").input.__setitem__(1, "l"),
}


@pytest.mark.parametrize("said", CHANGES)
def test_every_change_is_found(said: str, tmp_path: Path) -> None:
    graph, low = write(tmp_path), quantized(tmp_path)
    model = onnx.load(str(low.graph.path))
    CHANGES[said](model)
    path = tmp_path / "changed.onnx"
    onnx.save(model, str(path))
    source = float32_source(graph, 17)
    products = policy(tmp_path).quantized
    check_quantized(source, low.graph.path, products, ranges(["x", "last"]), QUANTISED["int8"])
    with pytest.raises(CheckFailed, match=said):
        check_quantized(source, path, products, ranges(["x", "last"]), QUANTISED["int8"])


def test_a_pair_where_the_policy_wants_float32_is_found(tmp_path: Path) -> None:
    low = quantized(tmp_path)
    products = [product for product in policy(tmp_path).quantized if product.node != "second"]
    with pytest.raises(CheckFailed, match=r"second reads \w+_dequantized, and the policy says float32"):
        check_quantized(
            float32_source(write(tmp_path), 17), low.graph.path, products, ranges(["x", "last"]), QUANTISED["int8"]
        )


def test_a_wrong_step_is_not_handed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    right = writing.Quantize._pair

    def wrong(self: writing.Quantize, *where: Any) -> Any:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(writing, "scale", lambda largest, _form: np.float32(largest / 100))
            return right(self, *where)

    monkeypatch.setattr(writing.Quantize, "_pair", wrong)
    with pytest.raises(CheckFailed, match=r"has other scales than its range gives; it was discarded"):
        quantized(tmp_path)


def test_a_weight_is_the_parameter_whose_numbers_it_has() -> None:
    rng = np.random.default_rng(0)
    kernel, matrix, other = (rng.standard_normal(shape, np.float32) for shape in ((4, 6, 3, 3), (4, 6), (4, 6)))
    parameters = {"kernel": kernel, "other": other, "matrix": matrix, "bias": np.ones(4, np.float32)}
    folded = kernel * np.array([2, -0.1, 30, 1e-4], np.float32).reshape(4, 1, 1, 1)
    assert parameter_of("kernel", None, 0, parameters) == "kernel"
    assert parameter_of("val_1", folded, 0, parameters) == "kernel"
    assert parameter_of("val_2", matrix.T, 1, parameters) == "matrix"
    assert parameter_of("val_3", matrix.T.copy(), 0, {"x @ weight": matrix}) == "x @ weight"
    assert parameter_of("val_4", matrix + np.float32(0.01), 0, parameters) == ""
    assert parameter_of("", None, 1, parameters) == ""
