"""The floor of a quantised file beside a module that has no levels: what its own levels lose, and no more."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from foreign_files import model, saved
from onnx import helper
from quantised_gate import Gate, quantised
from torch import nn

from attn2trt import check_model
from attn2trt.validate.onnx_reference.levels import Ends, quantize_linear, within_half_a_step
from attn2trt.validate.verdict import StageResult
from attn2trt.workflows.check import CheckedModel


def checked(folder: Path, module: Gate | None = None, *, precision: str = "fp32", **how: Any) -> CheckedModel:
    module = module or Gate().eval()
    path = saved(quantised(module, **how), folder / "model.onnx")
    return check_model(path, against=module, precision=precision, capabilities="none")


def judged(found: CheckedModel) -> StageResult:
    return found.verdict.stages[0]


def test_a_healthy_file_loses_what_its_levels_lose_and_no_less(tmp_path: Path) -> None:
    found = checked(tmp_path)
    assert found.passed, found.verdict
    assert "one rounding in int8 is what the file's own levels lose" in found.notes
    # the ReLU6 is the end of a range: a floor without it would hide any error of large inputs
    ratios = {case: one.ratio for case, one in judged(found).comparisons}
    assert all(0.1 < ratio < 2 for ratio in ratios.values()), ratios


@pytest.mark.parametrize(("size", "ends"), [(0.1, 0.5), (0.3, 2.0)])
def test_what_a_range_leaves_out_is_its_loss(size: float, ends: float, tmp_path: Path) -> None:
    module = Gate().eval()
    module.first.weight.data *= size  # ordinary numbers come nowhere near to the ReLU6's end
    stage = judged(checked(tmp_path, module, ends=ends))
    assert {one.which for _, one in stage.comparisons if not one.passed} <= {"budget"}
    assert max(one.ratio for _, one in stage.comparisons if one.which != "budget") < 2


def test_a_range_above_an_activations_end_does_not_stand_for_it(tmp_path: Path) -> None:
    assert {one.which for _, one in judged(checked(tmp_path, ends=9.0)).comparisons if not one.passed} - {"budget"}


def test_a_file_with_another_weight_fails_and_the_module_is_named(tmp_path: Path) -> None:
    found = checked(tmp_path, factor=1.15, precision="int8-fp16")
    assert judged(found).status == "failed"
    assert "without its rounding, it holds no output of first (Conv2d)" in judged(found).why


def test_float16_between_the_levels_is_judged_too(tmp_path: Path) -> None:
    stages = {str(one.stage): one for one in checked(tmp_path, precision="int8-fp16").verdict.stages}
    assert stages["int8-fp16"].status == "passed", stages


def test_levels_that_have_no_exact_values_are_not_checked_and_say_why(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("DynamicQuantizeLinear", ["x"], ["q", "s", "z"]),
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["y"]),
    ]
    path = saved(model(nodes, out=("n", 3, 8, 8)), tmp_path / "model.onnx")
    stage = judged(check_model(path, against=nn.Identity(), capabilities="none"))
    assert stage.status == "not checked"
    assert "what PyTorch loses in int8 was not measured: DynamicQuantizeLinear computes with integers" in stage.why


def test_weights_alone_in_few_bits_are_held_to_float32_and_say_so(tmp_path: Path) -> None:
    stored = {"w": np.eye(3, dtype=np.int8), "s": np.array(1.01, np.float32)}
    nodes = [helper.make_node("DequantizeLinear", ["w", "s"], ["f"]), helper.make_node("MatMul", ["x", "f"], ["y"])]
    path = saved(model(nodes, stored, dims=("n", 3), out=("n", 3)), tmp_path / "model.onnx")
    found = check_model(path, against=nn.Identity(), capabilities="none")
    assert judged(found).status == "failed"
    assert any("stores weights in int8 and rounds nothing else" in line for line in found.notes)


def test_stored_levels_move_by_half_a_step_unless_all_that_share_a_scale_are_zero() -> None:
    levels = np.array([[0, 0, 0], [0, 3, -127]], np.int8)
    draw = np.random.default_rng(0)
    moved = within_half_a_step(levels, np.ones(2, np.float32), np.zeros(2, np.int8), draw, axis=0)
    assert not moved[0].any()
    assert (np.abs(moved[1] - levels[1]) <= 0.5).all()
    assert moved[1].all()
    assert within_half_a_step(levels, np.float32(1), None, draw).all()  # one scale for all


def test_stored_floats_of_8_bits_move_by_half_their_distance() -> None:
    levels = np.array([1, 240], ml_dtypes.float8_e4m3fn)
    moved = within_half_a_step(levels, np.float32(1), None, np.random.default_rng(0))
    assert (np.abs(moved / levels.astype(np.float32) - 1) <= 2.0**-4).all()
    assert (moved != levels.astype(np.float32)).all()


@pytest.mark.parametrize(
    ("ends", "most"), [("zero", 400.0), ("from zero", 255.0), ([1, 300, 390], 300.0), ([9], 400.0)]
)
def test_an_activation_ends_where_levels_that_begin_at_zero_do(ends: Ends, most: float) -> None:
    x, step = np.array([-2.0, 0.25, 400.0], np.float32), np.array(1, np.float32)
    assert quantize_linear(x, step, np.array(0, np.uint8), rounds=False, ends=ends).tolist() == [0, 0.25, most]
    assert quantize_linear(x, step, np.array(128, np.uint8), rounds=False, ends=ends).tolist() == [126, 128.25, 528]
    assert quantize_linear(x, step, np.array(0, np.int8), rounds=False, ends=ends).tolist() == x.tolist()
