"""Functions of an ONNX file are written out as runtimes run them, or the file is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from foreign_files import model, saved
from onnx import helper

from attn2trt.errors import InputError
from attn2trt.export.onnx_file_child import read


def test_functions_of_the_file_are_inlined(tmp_path: Path) -> None:
    twice = helper.make_function(
        "mine", "Twice", ["a"], ["b"], [helper.make_node("Add", ["a", "a"], ["b"])], [helper.make_opsetid("", 17)]
    )
    found = model([helper.make_node("Twice", ["x"], ["y"], domain="mine")], out=("n", 3, 8, 8))
    found.functions.append(twice)
    found.opset_import.append(helper.make_opsetid("mine", 1))
    inlined, about = read(saved(found, tmp_path / "a.onnx"), "a.onnx")
    assert [node.op_type for node in inlined.graph.node] == ["Add"]
    assert about["notes"][0] == "1 functions of the file are inlined"


def with_function(opset: int, body: str, tmp_path: Path) -> Path:
    """A file of opset 18 with one function of another opset."""
    text = f"""<ir_version: 9, opset_import: ["" : 18, "mine" : 1]>
        g (float[2, 4, 5] x) => (float[2, 4, 1] y) {{ y = mine.Sum (x) }}
        <domain: "mine", opset_import: ["" : {opset}]> Sum (x) => (y) {{ {body} }}"""
    return saved(onnx.parser.parse_model(text), tmp_path / "a.onnx")


def test_a_function_of_another_opset_with_the_same_operators_is_inlined(tmp_path: Path) -> None:
    body = "axes = Constant <value_ints = [2]> () y = ReduceSum <keepdims = 1> (x, axes)"
    inlined, about = read(with_function(17, body, tmp_path), "a.onnx")
    assert [node.op_type for node in inlined.graph.node] == ["Constant", "ReduceSum"]
    assert about["opset"] == 18


@pytest.mark.parametrize(
    ("opset", "body"),
    [(17, "y = ReduceMean <axes = [2], keepdims = 1> (x)"), (12, "z = Softmax (x) y = ReduceMax <axes = [2]> (z)")],
)
def test_a_function_whose_opset_has_other_operators_is_refused(opset: int, body: str, tmp_path: Path) -> None:
    message = rf"^received a.onnx of opset 18, whose function mine::Sum is of opset {opset}, in which .*Reduce"
    with pytest.raises(InputError, match=message):
        read(with_function(opset, body, tmp_path), "a.onnx")


LEAKY = "<domain: 'mine', opset_import: ['': 18]> Leaky <alpha: float = 0.5> (a) => (b) "
LEAKY += "{ b = LeakyRelu <alpha: float = @alpha> (a) }"
IN_BODIES = """zero = Constant <value_float = 0.0> () sum = ReduceSum <keepdims = 0> (x) is_large = Greater (sum, zero)
    y = If (is_large) <then_branch = yes () => (float[8] r) { r = mine.Leaky (x) },
                       else_branch = no () => (float[8] r) { s = Neg (x) r = mine.Leaky (s) }>"""
OUTER = "<domain: 'mine', opset_import: ['': 18, 'mine': 1]> Outer"


@pytest.mark.parametrize(
    ("body", "functions"),
    [
        ("y = mine.Leaky (x)", LEAKY),
        ("y = mine.Leaky <alpha = 0.7> (x)", LEAKY),
        (IN_BODIES, LEAKY),
        ("y = mine.Outer (x)", f"{OUTER} (a) => (b) {{ b = mine.Leaky (a) }} {LEAKY}"),
        # the outer one's attribute is given by nobody: the inner one's default holds
        ("y = mine.Outer (x)", f"{OUTER} <beta> (a) => (b) {{ b = mine.Leaky <alpha: float = @beta> (a) }} {LEAKY}"),
        (
            "u = mine.Outer <beta = 0.25> (x) y = mine.Outer (u)",
            f"{OUTER} <beta: float = 0.75> (a) => (b) {{ b = mine.Leaky <alpha: float = @beta> (a) }} {LEAKY}",
        ),
    ],
)
def test_a_call_takes_what_it_leaves_out_from_its_function(body: str, functions: str, tmp_path: Path) -> None:
    text = f"""<ir_version: 9, opset_import: ['': 18, 'mine': 1]>
        g (float[8] x) => (float[8] y) {{ {body} }} {functions}"""
    path = saved(onnx.parser.parse_model(text.replace("'", '"')), tmp_path / "a.onnx")
    inlined, _ = read(path, "a.onnx")
    assert not inlined.functions
    feeds = {"x": np.linspace(-2, 1, 8, dtype=np.float32)}
    found, wanted = (
        onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"]).run(None, feeds)[0]
        for file in (inlined.SerializeToString(), str(path))
    )
    np.testing.assert_array_equal(found, wanted)


def test_a_function_with_the_name_of_an_operator_is_refused(tmp_path: Path) -> None:
    text = """<ir_version: 9, opset_import: ["": 18]> g (float[8] x) => (float[8] y) { y = Relu (x) }
        <domain: "", opset_import: ["": 18]> Relu (a) => (b) { b = Neg (a) }"""
    with pytest.raises(
        InputError, match=r"whose function Relu has the name of an operator of ONNX, which runtimes run"
    ):
        read(saved(onnx.parser.parse_model(text), tmp_path / "a.onnx"), "a.onnx")


@pytest.mark.parametrize(
    ("body", "why"),
    [("b = mine.F (a)", "recurs"), ("b = Add (a, x)", "nor input of the function")],
)
def test_functions_that_call_themselves_or_read_the_graph_are_refused(tmp_path: Path, body: str, why: str) -> None:
    text = f"""<ir_version: 9, opset_import: ["": 18, "mine": 1]> g (float[8] x) => (float[8] y) {{ y = mine.F (x) }}
        <domain: "mine", opset_import: ["": 18, "mine": 1]> F <k: float = 1.0> (a) => (b) {{ {body} }}"""
    with pytest.raises(InputError, match=rf"^received a.onnx, which ONNX's checker refuses: .*{why}"):
        read(saved(onnx.parser.parse_model(text), tmp_path / "a.onnx"), "a.onnx")
