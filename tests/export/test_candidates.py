"""Candidate graphs: what can be chosen, that it computes the same, and that contract and modules are kept."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx.reference import ReferenceEvaluator
from small_graph import graph_file

from attn2trt.errors import InputError
from attn2trt.export.candidate_source import Choice, Source
from attn2trt.export.candidates import choices_of, write_of

SE = """<ir_version: 8, opset_import: ["" : 17]> g (float[n, 8, h, w] x) => (float[n, 8, h, w] y) {
    m = ReduceMean <axes: ints = [2, 3], keepdims: int = 0> (x)
    a = Gemm <transB: int = 1> (m, w1) r = Relu (a) b = Gemm <transB: int = 1> (r, w2) s = Sigmoid (b)
    u = Unsqueeze (s, axes) y = Mul (x, u) }"""
KEPT, HALF = "mean that keeps its axes", "means in half precision"


def squeeze_and_excite(folder: Path) -> Source:
    rng = np.random.default_rng(0)
    proto = onnx.parser.parse_model(SE)
    weights = {
        "w1": rng.standard_normal((2, 8), np.float32),
        "w2": rng.standard_normal((8, 2), np.float32),
        "axes": np.array([2, 3]),
    }
    proto.graph.initializer.extend(onnx.numpy_helper.from_array(value, name) for name, value in weights.items())
    for number, node in enumerate(proto.graph.node):
        node.name = f"{node.op_type}_{number}"
    own = {"ReduceMean": "squeeze", "Mul": "scale"}
    modules = {node.name: own.get(node.op_type, "gate") for node in proto.graph.node}
    return Source(graph_file(proto, folder / "model.onnx", modules=modules))


def chosen(source: Source, *names: str, precision: str = "fp16") -> list[Choice]:
    return [choice for choice in choices_of(source, precision) if choice.name in names]


def computed(path: Path) -> np.ndarray:
    x = np.random.default_rng(1).standard_normal((2, 8, 5, 3), np.float32)
    return np.asarray(ReferenceEvaluator(str(path)).run(None, {"x": x})[0])


def test_choices_are_listed_by_kind_of_place(tmp_path: Path) -> None:
    source = squeeze_and_excite(tmp_path)
    found = choices_of(source, "fp16")
    assert Choice(KEPT, "mean over height and width", 1) in found
    assert Choice(HALF, "precision of means", 1) in found
    assert not any(
        choice.kind.startswith("precision of") for choice in choices_of(squeeze_and_excite(tmp_path), "fp32")
    )


def test_a_candidate_computes_the_same_and_keeps_contract_and_modules(tmp_path: Path) -> None:
    source = squeeze_and_excite(tmp_path)
    graph = write_of(source, "fp32", chosen(source, KEPT), tmp_path / "new.onnx")
    assert (graph.inputs, graph.outputs) == (source.graph.inputs, source.graph.outputs)
    np.testing.assert_allclose(computed(graph.path), computed(source.graph.path), rtol=1e-6, atol=1e-6)
    names = [node.name for node in ir.load(str(graph.path)).graph]
    assert "ReduceMean_0" not in names
    assert {graph.modules[str(name)] for name in names if "ReduceMean_0" in str(name)} == {"squeeze"}
    # a plan's layers are named by their nodes, with spaces between them
    model = ir.load(str(graph.path))
    values = {str(value.name) for node in model.graph for value in node.outputs} | {*model.graph.initializers}
    assert not any(" " in str(name) for name in {*names, *values})
    assert set(graph.modules) == {str(name) for name in names}


def test_a_choice_of_precision_changes_what_is_cast(tmp_path: Path) -> None:
    source = squeeze_and_excite(tmp_path)
    plain = write_of(source, "fp16", [], tmp_path / "plain.onnx")
    half = write_of(source, "fp16", chosen(source, KEPT, HALF), tmp_path / "half.onnx")
    casts = [sum(node.op_type == "Cast" for node in onnx.load(str(one.path)).graph.node) for one in (plain, half)]
    assert casts == [3, 2]
    np.testing.assert_allclose(computed(half.path), computed(source.graph.path), rtol=2e-2, atol=2e-2)


def test_gates_and_borders_stay_in_float32(tmp_path: Path) -> None:
    source = squeeze_and_excite(tmp_path)
    gates, border = "gates in float32", "products at the border in float32"
    names = {name: f"{number}.onnx" for number, name in enumerate((gates, border))}
    written = {
        name: onnx.load(str(write_of(source, "fp16", chosen(source, name), tmp_path / file).path))
        for name, file in names.items()
    }
    cast = {
        name: [node.input[0] for node in graph.graph.node if node.op_type == "Cast"] for name, graph in written.items()
    }
    assert cast == {gates: ["x", "s", "y_fp16"], border: ["m", "u"]}
    for file in names.values():
        np.testing.assert_allclose(computed(tmp_path / file), computed(source.graph.path), rtol=2e-2, atol=2e-2)


def test_a_border_in_half_precision_is_not_kept_in_float32(tmp_path: Path) -> None:
    source = replace(squeeze_and_excite(tmp_path), io="float16")
    assert not chosen(source, "products at the border in float32")


def test_a_softmax_goes_between_the_products_in_half_precision(tmp_path: Path) -> None:
    source = squeeze_and_excite(tmp_path)
    model = onnx.load(str(source.graph.path))
    next(node for node in model.graph.node if node.op_type == "Relu").op_type = "Softmax"
    onnx.save(model, str(source.graph.path))
    found = chosen(source, "softmax in half precision")
    assert [choice.count for choice in found] == [1]
    graph = onnx.load(str(write_of(source, "fp16", found, tmp_path / "new.onnx").path))
    assert [node.input[0] for node in graph.graph.node if node.op_type == "Cast"] == ["x", "m", "y_fp16"]


def test_a_module_that_the_user_keeps_in_float32_stays_there_rewritten(tmp_path: Path) -> None:
    source = squeeze_and_excite(tmp_path)
    gate = chosen(source, "gate as 1x1 convolutions")
    types = []
    for keep in ((), ("gate",)):
        graph = write_of(replace(source, keep=keep), "fp16", gate, tmp_path / f"{len(keep)}.onnx")
        weights = onnx.load(str(graph.path)).graph.initializer
        types.append({weight.data_type for weight in weights if len(weight.dims) == 4})
    assert types == [{onnx.TensorProto.FLOAT16}, {onnx.TensorProto.FLOAT}]


def test_choices_that_leave_nothing_in_half_precision_do_not_go_together(tmp_path: Path) -> None:
    source = squeeze_and_excite(tmp_path)
    both = chosen(source, "gates in float32", "products at the border in float32")
    with pytest.raises(InputError, match="leaves nothing to lower"):
        write_of(source, "fp16", both, tmp_path / "new.onnx")


def test_the_same_choices_write_the_same_file(tmp_path: Path) -> None:
    source = squeeze_and_excite(tmp_path)
    first, second = (
        write_of(source, "fp16", chosen(source, KEPT, HALF), tmp_path / name) for name in ("a.onnx", "b.onnx")
    )
    assert first.path.read_bytes() == second.path.read_bytes()


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        (Choice(KEPT, "mean over height and depth", 1), "changes nothing at"),
        (Choice("means by magic", "precision of means", 1), "received the unknown choice 'means by magic'"),
    ],
)
def test_a_choice_that_does_not_apply_is_refused(tmp_path: Path, choice: Choice, message: str) -> None:
    with pytest.raises(InputError, match=message):
        write_of(squeeze_and_excite(tmp_path), "fp16", [choice], tmp_path / "new.onnx")
    assert not (tmp_path / "new.onnx").exists()


def test_one_choice_of_a_kind_and_none_of_precision_in_float32(tmp_path: Path) -> None:
    source = squeeze_and_excite(tmp_path)
    with pytest.raises(InputError, match="expected one choice of each kind"):
        write_of(source, "fp16", chosen(source, HALF) * 2, tmp_path / "new.onnx")
    with pytest.raises(InputError, match="for fp32; expected a rewrite"):
        write_of(source, "fp32", chosen(source, HALF), tmp_path / "new.onnx")
