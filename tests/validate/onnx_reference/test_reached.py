"""What no case reaches in a file is named by its nodes, as in a module."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import helper, parser

from attn2trt.validate.cases import Case
from attn2trt.validate.hidden import Hidden
from attn2trt.validate.onnx_reference.evaluator import Evaluator
from attn2trt.validate.onnx_reference.isolated import IsolatedEvaluator
from attn2trt.validate.onnx_reference.references import graph_references

GRAPH = """
<ir_version: 8, opset_import: ["" : 18]>
scored (float[2, 4, 3, 3] x, int64[2] index) => (float[2, 4, 3, 3] boxes, float[2, 4, 3, 3] picked)
<float[1, 4, 1, 1] shift = {SHIFT}, float threshold = {THRESHOLD}, float infinity = {inf}, float weight = {0.3},
 int64 zero = {0}, int64 rows = {2}>
{
    gate = Sigmoid (weight)
    shifted = Add (x, shift)
    [act] open = Relu (shifted)
    scaled = Mul (open, gate)
    [picks] is_box = Greater (x, threshold)
    boxes = Where (is_box, scaled, x)
    is_negative = Less (index, zero)
    wrapped = Add (index, rows)
    places = Where (is_negative, wrapped, index)
    is_infinite = Equal (x, infinity)
    taken = Where (is_infinite, shifted, x)
    picked = Gather <axis: int = 0> (taken, places)
}
"""


def findings(folder: Path, shift: str, threshold: str) -> list[str]:
    text = GRAPH.replace("{SHIFT}", shift).replace("{THRESHOLD}", threshold)
    onnx.save(parser.parse_model(text), folder / "scored.onnx")
    hidden = Hidden()
    rng = np.random.default_rng(0)
    cases = [
        Case.of(
            str(number),
            {"x": rng.standard_normal((2, 4, 3, 3)).astype(np.float32), "index": np.array([0, number % 2])},
        )
        for number in range(3)
    ]
    with (
        IsolatedEvaluator(folder / "scored.onnx", "float64") as double,
        IsolatedEvaluator(folder / "scored.onnx", "float32") as single,
    ):
        for _, reference in graph_references(double, single, cases, hidden=hidden):
            assert not isinstance(reference, Exception), reference
    return [line for line in hidden.of_graph() if "in every case" in line]


def test_shut_channels_and_a_threshold_that_nothing_passes_are_named_by_their_nodes(tmp_path: Path) -> None:
    still, one_sided = findings(tmp_path, "{-9, 0, 0, -9}", "{50}")
    assert still.startswith("node act: the relu gives one number for 2 of 4 channels in every case")
    assert one_sided.startswith("the > at node picks is False everywhere in every case")


def test_weights_that_an_old_file_lists_among_its_inputs_are_no_inputs(tmp_path: Path) -> None:
    model = parser.parse_model(GRAPH.replace("{SHIFT}", "{0, 0, 0, 0}").replace("{THRESHOLD}", "{0.1}"))
    stored = helper.make_tensor_value_info("weight", onnx.TensorProto.FLOAT, [])
    model.graph.input.append(stored)
    onnx.save(model, tmp_path / "old.onnx")
    assert "gate" not in Evaluator(tmp_path / "old.onnx", "float64")._from_inputs


def test_gates_of_weights_indices_and_what_no_case_has_are_not_named(tmp_path: Path) -> None:
    assert findings(tmp_path, "{0, 0, 0, 0}", "{0.1}") == []
