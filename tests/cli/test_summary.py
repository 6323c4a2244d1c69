"""The exit code of a verdict, and a bundle in a few lines."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import served_bundle

from attn2trt.cli.summary import LABEL, _labelled, bundle_lines, exit_code, with_sizes
from attn2trt.core.tensor_spec import Axis, TensorSpec
from attn2trt.validate.comparison import Comparison
from attn2trt.validate.stages.stage import Stage
from attn2trt.validate.verdict import StageResult, Status, Verdict

GOOD = Comparison("output", 1e-8, 1e-8, 1.0, "l2", (), True, "")


@pytest.mark.parametrize(
    ("statuses", "code"),
    [
        (["passed"], 0),
        (["passed", "not checked"], 0),
        (["passed, budget not kept by PyTorch's float32"], 0),
        (["passed", "passed against float32"], 1),
        (["passed", "failed", "not checked"], 1),
        (["failed"], 1),
        (["passed", "refused", "not checked"], 2),
        (["not checked", "refused"], 2),
        (["passed", "refused", "failed"], 1),
        (["passed against float32", "refused"], 1),
        (["not checked", "not checked"], 3),
        ([], 3),
    ],
)
def test_only_a_verdict_that_checked_something_and_failed_nothing_exits_0(statuses: list[Status], code: int) -> None:
    stages = (
        StageResult(Stage("stage"), status, "why", () if status in ("not checked", "refused") else (("case", GOOD),))
        for status in statuses
    )
    assert exit_code(Verdict(tuple(stages))) == code


def test_a_stage_that_was_not_compared_whole_exits_1() -> None:
    assert exit_code(Verdict((StageResult(Stage("stage"), "not checked", "why", (("case", GOOD),)),))) == 1


def test_a_formula_that_is_too_long_to_read_is_shown_as_its_size_at_the_optima() -> None:
    axes = {"batch": Axis(1, 2, 4), "height": Axis(64, 64, 128, 32), "width": Axis(64, 96, 128, 32)}
    places = "((height - 1)//32 + 1)*((width - 1)//32 + 1) + (2*((height - 1)//32) + 2)*(2*((width - 1)//32) + 2)"
    spec = TensorSpec("output0", ("batch", 84, places))
    assert str(with_sizes(spec, axes)) == "output0: float32[batch, 84, 30 at height 64 and width 96]"
    cut = "output0: float32[batch, 84, ((height - 1)//32 + 1)*((width - 1)//32…]"
    assert str(with_sizes(spec, {"batch": Axis(1, 2, 4)})) == cut
    short = TensorSpec("mask", ("batch", "height/4", "(width - 1)//2"))
    assert with_sizes(short, axes) == short
    other = replace(short, shape=("batch", "Min(height + PythonMod(-height, 8), (height + 2)//3)"))
    assert str(with_sizes(other, axes)) == "mask: float32[batch, Min(height + PythonMod(-height, 8), (he…]"


@pytest.mark.parametrize("label", ["fp16", "int8-fp16"])
def test_every_text_begins_in_the_same_column(label: str) -> None:
    *above, first, second = _labelled(label, ["first", "second"])
    assert [line.index(text) for line, text in ((first, "first"), (second, "second"))] == [LABEL + 1] * 2
    assert [*above, first][0].split()[0] == label


@pytest.mark.parametrize(
    ("name", "build", "is_said"),
    [
        ("net.py:Net", {"checkpoint": False}, True),
        ("resnet18+py:mine:Gate@layer4", {"checkpoint": False}, True),
        ("net.py:Net", {"checkpoint": False, "random": True}, False),
        ("net.py:Net", {"checkpoint": True}, False),
        ("net.pt2", {"checkpoint": False}, False),
        ("resnet18+se", {"checkpoint": False}, False),
        ("Net", None, False),  # a module from Python
    ],
)
def test_other_weights_are_named_where_those_of_the_users_code_hide_something(
    name: str, build: dict[str, bool] | None, is_said: bool, tmp_path: Path
) -> None:
    bundle = served_bundle.write(tmp_path / "b")
    bundle.manifest["target"]["name"] = name
    bundle.manifest.update(build=build, hidden=["gate.scale is all zeros"])
    advice = f"{'':9}--random-weights draws weights that hide less, --checkpoint takes trained ones"
    lines = bundle_lines(bundle)
    assert (advice in lines) == is_said
    bundle.manifest["hidden"] = []
    assert advice not in bundle_lines(bundle)
