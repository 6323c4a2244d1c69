"""The evaluator's float64 is float64, its float32 loses what it says, and what it cannot tell it names."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from foreign_files import convolution, model, quantised, saved
from onnx import TensorProto, helper, numpy_helper
from pretended_worker import real_workers

from attn2trt.core.precision import PRECISIONS
from attn2trt.errors import CheckFailed, Interrupted, MissingRequirement
from attn2trt.validate.cases import Case
from attn2trt.validate.metrics import GRAPH, Reference
from attn2trt.validate.onnx_reference.evaluator import Evaluator
from attn2trt.validate.onnx_reference.isolated import IsolatedEvaluator
from attn2trt.validate.onnx_reference.references import GraphLower, graph_references
from attn2trt.validate.onnx_reference.rounding import half_rounding, level_rounding, product_rounding
from attn2trt.validate.onnx_reference.run_options import RunOptions

X = {"x": np.random.default_rng(0).normal(size=(2, 3, 8, 8)).astype(np.float32)}


def error(found: np.ndarray, truth: np.ndarray) -> float:
    return float(np.linalg.norm(found.astype(np.float64) - truth) / np.linalg.norm(truth))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return saved(convolution(), tmp_path / "model.onnx")


def test_float64_is_what_the_formula_gives(path: Path) -> None:
    import torch

    weights = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in onnx.load(path).graph.initializer}
    wide = {name: torch.tensor(value).double() for name, value in weights.items()}
    c = torch.nn.functional.conv2d(torch.tensor(X["x"]).double(), wide["w"], wide["b"], padding=1)
    evaluator = Evaluator(path, "float64")
    found = evaluator.run(X)["y"]
    assert found.dtype == np.float64
    assert error(found, (c * c.sigmoid()).numpy()) < 1e-15
    assert evaluator.largest == pytest.approx(float(c.abs().max()))


def test_a_draw_moves_last_digits_and_repeats_itself(path: Path) -> None:
    truth, single = Evaluator(path, "float64").run(X)["y"], Evaluator(path, "float32")
    own, first, again, other = (single.run(X, RunOptions(draw=draw))["y"] for draw in (None, 1, 1, 2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
    assert all(1e-8 < error(found, truth) < 1e-6 for found in (own, first, other))
    assert first.dtype == np.float32


def test_a_plain_sigmoid_is_right_to_a_rounding_of_an_open_gate_and_stays_one(tmp_path: Path) -> None:
    shape = ["n"]
    graph = helper.make_graph(
        [helper.make_node("Sigmoid", ["x"], ["y"])],
        "g",
        [helper.make_tensor_value_info("x", 1, shape)],
        [helper.make_tensor_value_info("y", 1, shape)],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), tmp_path / "m.onnx")
    x = np.linspace(-40, 40, 4000, dtype=np.float32)
    found = Evaluator(tmp_path / "m.onnx", "float32").run({"x": x}, RunOptions(draw=0, is_plain=True))["y"]
    assert 2**-24 < np.abs(found - 1 / (1 + np.exp(-x.astype(np.float64))))[x < -6].max() < 2**-23
    assert 0 <= found.min() < found.max() <= 1


def test_values_inside_are_shown(path: Path) -> None:
    assert Evaluator(path, "float64").run(X, shown=["s"])["s"].shape == (2, 4, 8, 8)


@pytest.mark.parametrize(("name", "low", "high"), [("fp16", 1e-5, 2e-3), ("bf16", 1e-4, 1e-2)])
def test_half_precision_is_rounded_where_it_is_wanted(path: Path, name: str, low: float, high: float) -> None:
    truth, single = Evaluator(path, "float64").run(X)["y"], Evaluator(path, "float32")
    nodes = onnx.load(path).graph.node
    rounding = half_rounding((node.name for node in nodes), PRECISIONS[name])
    assert low < error(single.run(X, RunOptions(rounding=rounding))["y"], truth) < high


def test_a_graph_in_half_precision_is_exact_in_float64_and_rounded_as_written(tmp_path: Path) -> None:
    path = saved(convolution(dtype=TensorProto.FLOAT16), tmp_path / "half.onnx")
    feeds = {"x": X["x"].astype(np.float16)}
    truth, single = Evaluator(path, "float64").run(feeds)["y"], Evaluator(path, "float32")
    written = single.run(feeds, RunOptions(as_written=True))["y"]
    assert truth.dtype == np.float64
    assert written.dtype == np.float16
    assert 1e-5 < error(written, truth) < 2e-3


def test_a_quantised_graph_is_exact_in_float64_and_on_levels_as_written(tmp_path: Path) -> None:
    path = saved(quantised(), tmp_path / "levels.onnx")
    feeds = {"x": np.random.default_rng(0).normal(size=(2, 16)).astype(np.float32)}
    truth, single = Evaluator(path, "float64").run(feeds)["y"], Evaluator(path, "float32")
    assert error(single.run(feeds)["y"], truth) < 1e-6
    assert 1e-4 < error(single.run(feeds, RunOptions(as_written=True))["y"], truth) < 1e-1


def test_levels_of_a_graph_that_was_quantised_from_this_one(path: Path) -> None:
    truth, single = Evaluator(path, "float64").run(X)["y"], Evaluator(path, "float32")
    named = onnx.load(path)
    named.graph.node[0].name = "conv"
    saved(named, path)
    rounding = level_rounding(path, ["conv"], {"x": float(np.abs(X["x"]).max())}, PRECISIONS["int8"])
    assert rounding.levels["conv"][1:] == ("w", 0)
    assert 1e-4 < error(Evaluator(path, "float32").run(X, RunOptions(rounding=rounding))["y"], truth) < 1e-1
    assert error(single.run(X)["y"], truth) < 1e-6


@pytest.mark.parametrize(
    ("nodes", "why"),
    [
        ([helper.make_node("RandomNormalLike", ["x"], ["y"])], "RandomNormalLike gives something else in every run"),
        (
            [helper.make_node("DynamicQuantizeLinear", ["x"], ["q", "s", "z"])],
            "DynamicQuantizeLinear computes",
        ),
        ([helper.make_node("MaxRoiPool", ["x", "r"], ["y"], pooled_shape=[1, 1])], "evaluator has no MaxRoiPool"),
    ],
)
def test_operators_without_a_truth_are_named(tmp_path: Path, nodes: list[onnx.NodeProto], why: str) -> None:
    path = saved(model(nodes, {"r": np.zeros((1, 5), np.float32)}), tmp_path / "a.onnx")
    with pytest.raises(MissingRequirement, match=why):
        Evaluator(path, "float64")


@pytest.mark.parametrize(("trains", "is_node"), [(True, False), (True, True), (False, False), (False, True)])
def test_a_dropout_that_draws_has_no_truth(tmp_path: Path, trains: bool, is_node: bool) -> None:
    mode = np.array(trains)
    made = [helper.make_node("Constant", [], ["mode"], value=numpy_helper.from_array(mode))] if is_node else []
    path = saved(
        model([*made, helper.make_node("Dropout", ["x", "", "mode"], ["y"])], {} if is_node else {"mode": mode}),
        tmp_path / "a.onnx",
    )
    if trains:
        with pytest.raises(MissingRequirement, match="Dropout in training mode gives something else in every run"):
            Evaluator(path, "float64")
    else:
        np.testing.assert_array_equal(Evaluator(path, "float64").run(X)["y"], X["x"])


def test_an_operator_that_computes_in_float32_is_no_truth(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from attn2trt.validate.onnx_reference import evaluator

    class Sigmoid(evaluator_base()):  # type: ignore[misc]
        def _run(self, x: np.ndarray) -> tuple[np.ndarray]:
            return ((1 / (1 + np.exp(-x.astype(np.float32)))).astype(x.dtype),)

    own = evaluator.replacements
    monkeypatch.setattr(evaluator, "replacements", lambda *given: [Sigmoid, *own(*given)])
    with pytest.raises(MissingRequirement, match=r"has no float64 for node 1, gate \(Sigmoid\)"):
        Evaluator(saved(convolution(), tmp_path / "a.onnx"), "float64").run(X)


def test_rounding_of_float64_that_float32_happens_to_hold_is_a_truth(tmp_path: Path) -> None:
    """The mean of what is normalised already is nearly zero: a few bits; a second normalisation has it as output."""
    weights = {"one": np.ones(8, np.float32), "none": np.zeros(8, np.float32)}
    nodes = [
        helper.make_node("LayerNormalization", ["x", "one", "none"], ["first"], axis=-1),
        helper.make_node("LayerNormalization", ["first", "one", "none"], ["second"], axis=-1),
        helper.make_node("ReduceMean", ["second"], ["mean"], axes=[-1]),
        helper.make_node("Add", ["second", "mean"], ["y"]),
    ]
    x = np.random.default_rng(0).normal(size=(2, 3, 128, 8)).astype(np.float32)
    found = Evaluator(saved(model(nodes, weights), tmp_path / "a.onnx"), "float64").run({"x": x})
    assert np.abs(found["y"].mean(-1)).max() < 1e-12


def evaluator_base() -> type:
    from onnx.reference.op_run import OpRun

    return OpRun


def test_a_node_that_cannot_be_computed_is_named(tmp_path: Path) -> None:
    shape = {"s": np.array([2, 192], np.int64)}
    path = saved(model([helper.make_node("Reshape", ["x", "s"], ["y"], name="flat")], shape), tmp_path / "a.onnx")
    with pytest.raises(CheckFailed, match=r"cannot compute node 0, flat \(Reshape\)"):
        Evaluator(path, "float64").run({"x": np.zeros((1, 3, 8, 8), np.float32)})


def test_bodies_of_loops_and_branches_read_what_is_outside(tmp_path: Path) -> None:
    body = helper.make_graph(
        [helper.make_node("Mul", ["x", "half"], ["z"])], "b", [], [helper.make_tensor_value_info("z", 1, None)]
    )
    other = helper.make_graph(
        [helper.make_node("Neg", ["x"], ["z"])], "c", [], [helper.make_tensor_value_info("z", 1, None)]
    )
    node = helper.make_node("If", ["true"], ["y"], then_branch=body, else_branch=other)
    weights = {"true": np.array(True), "half": np.array(0.1, np.float32)}
    path = saved(model([node], weights, out=("n", 3, 8, 8)), tmp_path / "a.onnx")
    found = Evaluator(path, "float64").run(X)["y"]
    np.testing.assert_array_equal(found, X["x"].astype(np.float64) * np.float64(np.float32(0.1)))


def test_a_process_that_takes_too_long_is_ended(monkeypatch: pytest.MonkeyPatch, path: Path) -> None:
    real_workers(monkeypatch)
    with IsolatedEvaluator(path, "float64", seconds=0.01) as evaluator, pytest.raises(Interrupted):
        evaluator.run(X)


def test_a_reference_has_floors_for_every_precision_and_a_reason_for_what_does_not_run(path: Path) -> None:
    case = Case("traced", "", "normal", {"batch": 2}, lambda: dict(X), ("x",), True)
    wrong = Case.of("wrong", {"x": np.zeros((2, 5, 8, 8), np.float32)})
    nodes = [node.name for node in onnx.load(path).graph.node]
    lower = GraphLower("fp16", half_rounding(nodes, PRECISIONS["fp16"]))
    with IsolatedEvaluator(path, "float64") as double, IsolatedEvaluator(path, "float32") as single:
        (_, found), (_, reason) = graph_references(double, single, [case, wrong], lower=[lower])
    assert isinstance(found, Reference)
    assert found.source == GRAPH
    assert found.row_outputs == ("y",)
    assert found.outputs64["y"].dtype == np.float64
    assert 1e-8 < found.floors["y"].l2 < 1e-6 < found.lower["fp16"]["y"].l2 < 1e-2
    assert isinstance(reason, CheckFailed)


@pytest.mark.parametrize("dtype", [TensorProto.FLOAT, TensorProto.FLOAT16])
def test_weights_beside_the_graph_are_those_inside(tmp_path: Path, dtype: int) -> None:
    inside = saved(convolution(dtype=dtype), tmp_path / "inside.onnx")
    beside = {"save_as_external_data": True, "location": "w.bin", "size_threshold": 0}
    onnx.save_model(convolution(dtype=dtype), str(tmp_path / "beside.onnx"), **beside)
    for kind in ("float64", "float32"):
        one, other = (Evaluator(file, kind).run(X)["y"] for file in (inside, tmp_path / "beside.onnx"))
        assert one.dtype == other.dtype
        assert np.array_equal(one, other)


def test_tf32_loses_three_digits_more_and_each_draw_loses_others(path: Path) -> None:
    truth = Evaluator(path, "float64").run(X)["y"]
    rounding = product_rounding(["Conv_0"])
    unnamed = onnx.load(str(path))
    unnamed.graph.node[0].name = "Conv_0"
    single = Evaluator(saved(unnamed, path.with_name("named.onnx")), "float32")
    lost = [error(single.run(X, RunOptions(rounding=rounding, draw=draw))["y"], truth) for draw in (None, 0, 1, 2)]
    assert all(1e-5 < one < 2e-3 for one in lost), lost
    assert len({*lost}) == 4
    assert lost[1] > lost[0], "cut off instead of rounded"
    assert error(single.run(X)["y"], truth) < 1e-6
