"""The part of the claimed ranges that a trace's guards leave, and the line that is reported for each."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
import sympy
import torch
from torch import nn
from torch.nn import functional
from torch.utils._sympy.functions import FloorDiv, Max, Min, Mod, PythonMod

from attn2trt.core.tensor_spec import Axis, TensorSpec
from attn2trt.engines.ort_runtime import OrtRuntime
from attn2trt.errors import ModuleRefused
from attn2trt.export.trace.advice import advice_on
from attn2trt.export.trace.exporter import trace
from attn2trt.export.trace.following import followed
from attn2trt.export.trace.guards import Guard
from attn2trt.export.trace.narrowing import Violation, restrict
from attn2trt.modules.own_module import from_module

HEIGHT, WIDTH = sympy.symbols("height width", integer=True, positive=True)
AXES = {"height": Axis(5, 12, 31), "width": Axis(6, 16, 40)}


def never(_: object) -> bool:
    return False


def guard(condition: sympy.Basic) -> Guard:
    return Guard(condition, "mine.py:3 `if h % 2:`")


def test_what_holds_everywhere_restricts_nothing() -> None:
    assert restrict([guard(sympy.Ge(HEIGHT, 3)), guard(sympy.Ne(HEIGHT + WIDTH, 0))], AXES, never) == (AXES, None)


def test_evenness_becomes_a_multiple_and_moves_the_ends_inwards() -> None:
    axes, violation = restrict([guard(sympy.Eq(Mod(HEIGHT, 4), 0))], AXES, never)
    assert violation is None
    assert axes == AXES | {"height": Axis(8, 12, 28, multiple=4)}


def test_guards_of_one_axis_are_taken_together() -> None:
    guards = [guard(sympy.Eq(Mod(HEIGHT, 2), 0)), guard(sympy.Eq(Mod(HEIGHT, 3), 0))]
    assert restrict(guards, AXES, never)[0]["height"] == Axis(6, 12, 30, multiple=6)


@pytest.mark.parametrize(
    ("condition", "left"),
    [
        (Min(HEIGHT, WIDTH) >= 8, ("height", Axis(8, 12, 31))),
        (Min(HEIGHT, 2 * WIDTH) > 13, ("width", Axis(7, 16, 40))),
        (Max(HEIGHT, WIDTH) < 36, ("width", Axis(6, 16, 35))),
        (sympy.And(HEIGHT >= 4, WIDTH >= 9), ("width", Axis(9, 16, 40))),
        (Min(HEIGHT, WIDTH) <= Max(HEIGHT, WIDTH), None),
    ],
)
def test_what_holds_of_each_of_two_axes_narrows_one_after_the_other(
    condition: sympy.Basic, left: tuple[str, Axis] | None
) -> None:
    axes = AXES if "2*" not in str(condition) else AXES | {"height": Axis(14, 16, 31)}
    violation = restrict([guard(condition)], axes, never)[1]
    assert (violation and (violation.axis, violation.narrower)) == left


def test_a_product_of_windows_gives_a_multiple_to_each_axis() -> None:
    windows = sympy.Eq(HEIGHT * WIDTH, 16 * FloorDiv(HEIGHT, 4) * FloorDiv(WIDTH, 4))
    axes, violation = restrict([guard(windows)], AXES, never)
    assert violation is None
    assert (axes["height"].multiple, axes["width"].multiple) == (4, 4)


def test_of_sizes_that_are_no_progression_the_smallest_step_inside_is_kept() -> None:
    # two halvings that round down, doubled again: 4k and 4k + 1
    halved = sympy.Eq(2 * FloorDiv(HEIGHT, 4), FloorDiv(HEIGHT, 2))
    axes, violation = restrict([guard(halved)], AXES, never)
    assert violation is None
    assert axes == AXES | {"height": Axis(8, 12, 28, multiple=4)}


def test_multiples_over_the_range_come_before_a_short_row_around_the_traced_size() -> None:
    # features of two strides that are concatenated, each rounded up: 64, 89 to 96, 121 to 128, 153 to 160
    ceil32, ceil16 = (FloorDiv(HEIGHT + step - 1, step) for step in (32, 16))
    axes, violation = restrict([guard(sympy.Eq(2 * ceil32, ceil16))], {"height": Axis(64, 96, 160)}, never)
    assert violation is None
    assert axes == {"height": Axis(64, 96, 160, multiple=32)}


def test_a_traced_size_outside_of_the_step_is_answered_with_one_inside() -> None:
    halved = sympy.Eq(2 * FloorDiv(HEIGHT, 4), FloorDiv(HEIGHT, 2))
    violation = restrict([guard(halved)], {"height": Axis(5, 13, 31)}, never)[1]
    assert violation is not None
    assert (violation.narrower, violation.elsewhere) == (Axis(12, 13, 13), Axis(8, 12, 28, multiple=4))
    assert advice_on(violation) == (
        "trace it at 12 with --dynamic height=8:12:28:4, or narrow it to height=12:13:13 in --dynamic"
    )


def test_numpy_takes_a_size_for_a_number() -> None:
    at_numpy = Guard(sympy.Eq(HEIGHT, 12), "mine.py:3 `rows = np.arange(h)`")
    violation = restrict([at_numpy], AXES, never)[1]
    assert violation is not None
    assert advice_on(violation).startswith("compute it with torch in place of NumPy, which takes a size")


def test_a_step_has_to_hold_the_traced_size() -> None:
    # all multiples of 8 would do, and the traced 12 is none
    eights_or_12 = sympy.Or(sympy.Eq(Mod(HEIGHT, 8), 0), sympy.Eq(HEIGHT, 12))
    violation = restrict([guard(eights_or_12)], {"height": Axis(6, 12, 40)}, never)[1]
    assert violation is not None
    assert (violation.narrower, violation.elsewhere) == (Axis(8, 12, 16, multiple=4), Axis(8, 8, 40, multiple=8))


def test_a_bound_is_reported_with_the_step_rather_than_hidden_in_a_larger_one() -> None:
    # multiples of 36 would be inside as well, and two sizes alone
    guards = [guard(sympy.Eq(Mod(HEIGHT, 4), 0)), guard(sympy.Ge(HEIGHT, 9))]
    axes, violation = restrict(guards, {"height": Axis(4, 36, 100)}, never)
    assert axes == {"height": Axis(4, 36, 100)}
    assert violation is not None
    assert violation.narrower == Axis(12, 36, 100, multiple=4)


def test_a_step_that_was_asked_for_is_all_that_is_looked_at() -> None:
    axes = {"height": Axis(8, 16, 24, multiple=8)}
    assert restrict([guard(sympy.Eq(Mod(HEIGHT, 4), 0))], axes, never) == (axes, None)
    kept, violation = restrict([guard(sympy.Eq(Mod(HEIGHT, 16), 0))], {"height": Axis(8, 16, 40, 8)}, never)
    assert (kept["height"], violation) == (Axis(16, 16, 32, multiple=16), None)


def test_every_multiple_is_looked_at_in_a_long_range() -> None:
    # all multiples of 32 but one far from ends and optimum, which a sample would miss
    but_one = sympy.And(sympy.Eq(Mod(HEIGHT, 32), 0), sympy.Ne(HEIGHT, 32 * 517))
    axes, violation = restrict([guard(but_one)], {"height": Axis(32, 64, 32 * 1200)}, never)
    assert violation is not None or 32 * 517 not in axes["height"].sizes


@pytest.mark.parametrize(
    "condition",
    [
        sympy.Ne(HEIGHT, 5003),
        sympy.Ne(2 * HEIGHT + 1, 10007),
        sympy.And(sympy.Ge(HEIGHT, 2), sympy.Ne(FloorDiv(HEIGHT * HEIGHT, 7), 5003 * 5003 // 7)),
        sympy.Or(sympy.Lt(HEIGHT, 5003), sympy.Gt(HEIGHT, 5003)),
        sympy.Ne(Mod(HEIGHT, 5003), 0),
    ],
)
def test_the_one_size_of_a_long_range_at_which_a_branch_goes_the_other_way_is_found(condition: sympy.Basic) -> None:
    """No sample of the range has it."""
    axes, violation = restrict([guard(condition)], {"height": Axis(2, 100, 9000)}, never)
    assert violation is not None
    assert violation.excluded == (5003,)
    assert str(violation) == "does not hold for height 5003 at mine.py:3 `if h % 2:`"
    assert axes["height"] == Axis(2, 100, 9000)


def test_the_one_area_of_two_long_ranges_is_found() -> None:
    ranges = {"height": Axis(100, 512, 1024), "width": Axis(100, 512, 1024)}
    axes, violation = restrict([guard(sympy.Ne(HEIGHT * WIDTH, 1000 * 701))], ranges, never)
    assert violation is not None or 1000 not in axes["height"].sizes or 701 not in axes["width"].sizes


def test_a_number_that_a_size_became_is_compared_as_a_float() -> None:
    scale = sympy.Eq((FloorDiv(HEIGHT, 4) + 0.1) / 6.0, 0.516666666666667)
    violation = restrict([guard(scale)], AXES, never)[1]
    assert str(violation) == "holds only for height 12 to 15 at mine.py:3 `if h % 2:`"


def test_a_guard_that_cannot_be_evaluated_is_reported_as_it_is() -> None:
    unknown = sympy.Eq(sympy.Function("Unknown")(HEIGHT), 3)
    violation = restrict([guard(unknown)], AXES, never)[1]
    assert str(violation) == "holds only if Unknown(height) == 3 at mine.py:3 `if h % 2:`"


def test_a_fixed_axis_names_axis_value_and_line() -> None:
    violation = restrict([guard(sympy.Eq(HEIGHT, 12))], AXES, never)[1]
    assert str(violation) == "fixes the axis 'height' at 12 at mine.py:3 `if h % 2:`"


def test_a_range_is_reported_as_a_range() -> None:
    violation = restrict([guard(sympy.Ge(HEIGHT, 9))], AXES, never)[1]
    assert str(violation) == "holds only for height 9 to 31 at mine.py:3 `if h % 2:`"


def test_a_relation_between_axes_is_reported_with_their_names() -> None:
    violation = restrict([guard(sympy.Gt(WIDTH, HEIGHT))], AXES, never)[1]
    assert isinstance(violation, Violation)
    assert str(violation) == "holds only if width > height at mine.py:3 `if h % 2:`"


def test_a_branch_to_the_same_function_is_run_and_let_through() -> None:
    asked: list[object] = []

    def always(sizes: object) -> bool:
        asked.append(sizes)
        return True

    assert restrict([guard(sympy.Ne(HEIGHT, 7))], AXES, always) == (AXES, None)
    assert {"height": 7, "width": 16} in asked


def test_a_branch_without_consequence_at_multiples_is_run_at_these_alone() -> None:
    guards = [guard(sympy.Eq(Mod(HEIGHT, 4), 0)), guard(sympy.Eq(Mod(FloorDiv(HEIGHT, 4), 2), 1))]

    def at_multiples(sizes: Mapping[str, int]) -> bool:
        return sizes["height"] % 4 == 0

    assert restrict(guards, AXES, at_multiples)[0]["height"] == Axis(8, 12, 28, multiple=4)
    violation = restrict(guards, AXES, never)[1]
    assert str(violation) == "holds only for height 12, 20, 28 at mine.py:3 `if h % 2:`"


class InRows(nn.Module):
    """Sums rows of four pixels in pairs, after filling up both."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if x.shape[2] % 4:
            x = functional.pad(x, (0, 0, 0, 4 - x.shape[2] % 4))
        rows = functional.avg_pool2d(x, 4)
        count = rows.shape[2]
        filled = functional.pad(rows, (0, 0, 0, count % 2))
        pairs = filled.unflatten(2, (-1, 2)).cumsum(3).flatten(2, 3)
        return pairs[:, :, :count].contiguous() if count % 2 else pairs


def test_rows_that_are_filled_up_at_some_multiples_are_right_at_all(tmp_path: Path) -> None:
    target = from_module(InRows(), torch.randn(1, 2, 20, 8), dynamic="height=8:20:60")
    graph = trace(target, target.build(), tmp_path / "model.onnx", opset=17)
    assert str(graph.inputs[0].shape[2]) == "height"
    assert graph.axes["height"] == Axis(8, 20, 60, multiple=4)
    for height in (8, 24, 28, 56):
        x = torch.randn(1, 2, height, 8)
        found = OrtRuntime(graph.path).run({graph.inputs[0].name: x.numpy()})
        np.testing.assert_allclose(found[graph.outputs[0].name], InRows()(x).numpy(), atol=1e-6)


def test_a_size_of_one_is_left_to_the_comparison_at_the_smallest_sizes() -> None:
    assert restrict([guard(sympy.Ne(FloorDiv(HEIGHT, 5), 1))], AXES, never) == (AXES, None)


def test_a_size_that_is_one_at_others_than_the_smallest_is_not() -> None:
    inner = guard(sympy.Ne(Mod(HEIGHT, 8) + 1, 1))
    axes, violation = restrict([inner], {"height": Axis(17, 20, 31)}, never)
    assert violation is not None or 24 not in axes["height"].sizes


def test_a_branch_on_a_size_of_one_is_judged_as_any_other() -> None:
    asked = Guard(sympy.Ne(FloorDiv(HEIGHT, 5), 1), "mine.py:3 `if h // 5 == 1:`", is_branch=True)
    violation = restrict([asked], AXES, never)[1]
    assert str(violation) == "holds only for height 10 to 31 at mine.py:3 `if h // 5 == 1:`"


class GatedMap(torch.nn.Module):
    """An inner map that is 1 x 1 at small sizes, and a gate that is broadcast over it."""

    def __init__(self) -> None:
        super().__init__()
        self.body = torch.nn.Sequential(*(torch.nn.Conv2d(4, 4, 3, 2, 1) for _ in range(3)))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.body(x)
        return torch.as_tensor(y * y.mean((2, 3))[:, :, None, None])


@pytest.mark.parametrize("range_", ["8:8:20", "8:8:11"])
def test_a_map_of_one_pixel_at_the_traced_size_stays_a_map(range_: str, tmp_path: Path) -> None:
    target = from_module(
        GatedMap().eval(), (torch.randn(2, 4, 8, 8),), dynamic=f"batch=1:2:3,height={range_},width={range_}"
    )
    graph = trace(target, target.build(), tmp_path / "model.onnx", opset=17)
    assert all(isinstance(size, str) for size in graph.outputs[0].shape[2:])
    for size in (8, target.axes["height"].max):
        x = np.random.default_rng(0).standard_normal((2, 4, size, 8)).astype(np.float32)
        with torch.no_grad():
            expected = target.build()(torch.from_numpy(x)).numpy()
        found = OrtRuntime(graph.path).run({target.inputs[0].name: x})
        np.testing.assert_allclose(found[graph.outputs[0].name], expected, atol=1e-5)


REMAINDERS = (
    Mod(4 - Mod(HEIGHT, 4), 4),
    4 - Mod(HEIGHT + 1, 4) * Mod(WIDTH - HEIGHT + 64, 7),
    FloorDiv(HEIGHT - 1, 2) * 3 - PythonMod(-HEIGHT, 5) ** 2,
    -Mod(HEIGHT, 4) + FloorDiv(Mod(WIDTH, 9) + 1, 2),
)


@pytest.mark.parametrize("expression", REMAINDERS, ids=str)
def test_sizes_are_computed_as_sympy_does(expression: sympy.Expr) -> None:
    for condition in (sympy.Eq(expression, 0), sympy.Gt(expression, 1), sympy.Or(sympy.Ne(expression, 2), HEIGHT < 3)):
        for height, width in itertools.product(range(1, 20), (3, 10, 17)):
            expected = bool(condition.subs({HEIGHT: height, WIDTH: width}))
            assert Guard(condition, "").holds({"height": height, "width": width}) == expected


def test_sizes_that_are_tried_are_not_all_multiples_of_a_window() -> None:
    wide = {"height": Axis(16, 32, 64), "width": Axis(16, 32, 64)}
    unevaluable = guard(sympy.Eq(sympy.Function("unknown")(HEIGHT), 0))
    violation = restrict([unevaluable], wide, lambda sizes: sizes["height"] % 4 == 0)[1]
    assert violation is not None


@pytest.mark.parametrize(
    "padded",
    [
        lambda right, below: right or below,
        lambda right, below: any([right, below]),
        max,
    ],
)
def test_the_truth_of_a_size_is_a_guard(padded: Callable[[int, int], object], tmp_path: Path) -> None:
    class Cropped(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            n, c, h, w = x.shape
            right, below = (4 - w % 4) % 4, (4 - h % 4) % 4
            y = torch.nn.functional.pad(x, (0, right, 0, below))
            y = y * y.reshape(n, c, (h + below) // 4, 4, -1, 4).mean((1, 2, 3, 4, 5)).reshape(n, 1, 1, 1)
            return y[:, :, :h, :w] if padded(right, below) else y

    target = from_module(Cropped(), torch.randn(2, 3, 32, 32), dynamic="height=16:32:64,width=16:32:64")
    try:
        graph = trace(target, target.build(), tmp_path / "model.onnx", opset=17)
    except ModuleRefused as refused:
        assert "test_trap_guards.py" in str(refused)  # noqa: PT017
        return
    assert {axis.multiple for axis in graph.axes.values()} == {4}


def test_a_module_that_pads_is_followed_to_its_end() -> None:
    """The kernel of a pad takes no symbols by itself."""

    class Padded(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return functional.pad(x, (0, -x.shape[3] % 4)).unflatten(3, (-1, 4)).sum(4)

    spec = TensorSpec("x", ("batch", 3, "height", "width"))
    _, is_whole = followed(Padded(), [spec], [torch.randn(2, 3, 8, 9)], {}, keep_numbers=False)
    assert is_whole
