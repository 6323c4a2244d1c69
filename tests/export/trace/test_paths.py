"""Branches inside of branches: every way through a module's conditions on sizes is followed, or not claimed."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest
import sympy
import torch
from no_compiler import no_compiler
from sized import exported
from torch import Tensor, nn

from attn2trt.core.tensor_spec import Axis
from attn2trt.errors import ModuleRefused
from attn2trt.export.trace import paths, tracing
from attn2trt.export.trace.advice import advice_on
from attn2trt.export.trace.guards import Guard
from attn2trt.export.trace.paths import restrict_along_paths
from attn2trt.modules.own_module import from_module

HEIGHT, WIDTH = sympy.symbols("height width", integer=True, positive=True)
AXES = {"height": Axis(5, 16, 32), "width": Axis(5, 16, 32)}
TRACED = {"height": 16, "width": 16}


def at(condition: sympy.Basic, sizes: Mapping[str, int]) -> bool:
    return bool(condition.subs({HEIGHT: sizes["height"], WIDTH: sizes["width"]}))


class Asked:
    """The answers of ``module``, a function of a question, as a trace at these sizes notes them."""

    def __init__(self, module: Callable[[Callable[[sympy.Basic], bool]], object]) -> None:
        self._module = module
        self.followed = 0

    def __call__(self, sizes: Mapping[str, int]) -> Sequence[Guard]:
        self.followed += 1
        found: list[Guard] = []

        def ask(condition: sympy.Basic) -> bool:
            answer = at(condition, sizes)
            found.append(Guard(condition if answer else sympy.Not(condition), "mine.py:3 `if h % 2:`"))
            return answer

        self._module(ask)
        return found

    def at(self, sizes: Mapping[str, int]) -> object:
        """Return what the module does at these sizes."""
        return self._module(lambda condition: at(condition, sizes))

    def agrees(self, sizes: Mapping[str, int]) -> bool:
        return self.at(sizes) == self.at(TRACED)


def below_another(ask: Callable[[sympy.Basic], bool]) -> bool:
    return ask(HEIGHT > 16) and ask(sympy.Eq(sympy.Mod(HEIGHT, 8), 3))


def of_the_other_side(ask: Callable[[sympy.Basic], bool]) -> bool:
    return ask(HEIGHT > 16) and ask(sympy.Eq(WIDTH, 23))


def of_both(ask: Callable[[sympy.Basic], bool]) -> bool:
    """Neither answer alone leads anywhere."""
    high, wide = ask(HEIGHT > 16), ask(WIDTH > 16)
    return high and wide and ask(sympy.Eq(HEIGHT, 23))


def of_the_area(ask: Callable[[sympy.Basic], bool]) -> bool:
    return ask(HEIGHT * WIDTH > 600) and ask(sympy.Ne(HEIGHT, WIDTH)) and ask(sympy.Eq(HEIGHT, WIDTH + 3))


@pytest.mark.parametrize("module", [below_another, of_the_other_side, of_both, of_the_area])
def test_no_size_is_claimed_at_which_an_inner_branch_goes_the_other_way(
    module: Callable[[Callable[[sympy.Basic], bool]], bool],
) -> None:
    asked = Asked(module)
    axes, violation = restrict_along_paths(asked(TRACED), AXES, asked.agrees, TRACED, asked)
    kept = [(h, w) for h in axes["height"].sizes for w in axes["width"].sizes]
    assert violation is not None or all(asked.agrees({"height": h, "width": w}) for h, w in kept)
    assert violation is not None or len(kept) > 100


def test_a_branch_to_the_same_function_and_those_inside_of_it_restrict_nothing() -> None:
    asked = Asked(lambda ask: below_another(ask) and False)
    assert restrict_along_paths(asked(TRACED), AXES, asked.agrees, TRACED, asked) == (AXES, None)
    assert asked.followed == 3  # the traced way, and one on each side of the inner branch


def test_a_module_without_branches_in_its_ranges_is_not_followed() -> None:
    asked = Asked(lambda ask: ask(HEIGHT > 4) and ask(WIDTH < 90))
    guards = asked(TRACED)
    assert restrict_along_paths(guards, AXES, asked.agrees, TRACED, asked) == (AXES, None)
    assert asked.followed == 1


def test_more_ways_than_are_followed_are_not_claimed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each height goes a way of its own, and nothing comes of it but at one that is never run."""
    monkeypatch.setattr(paths, "MOST_PATHS", 6)
    asked = Asked(lambda ask: [ask(sympy.Eq(HEIGHT, height)) for height in range(5, 33)] and 0)
    _, violation = restrict_along_paths(asked(TRACED), AXES, asked.agrees, TRACED, asked)
    assert violation is not None
    assert str(violation) == "is proven only for height 5, 6, 7, 8, 9, 16 at mine.py:3 `if h % 2:`"
    assert advice_on(violation) == "remove the branch on that size, or narrow it to height=8:16:16:8 in --dynamic"


def nested(x: Tensor) -> Tensor:
    if x.shape[2] > 16:  # noqa: SIM102
        if x.shape[2] % 8 == 3:
            x = x * 2
    return x


def of_a_function(x: Tensor) -> Tensor:
    def odd(size: int) -> bool:
        return size % 8 == 3

    return x * 2 if x.shape[2] > 16 and odd(x.shape[2]) else x


def of_numbers(x: Tensor) -> Tensor:
    """Nothing without data gets through it: what it asks behind is never heard."""
    if x.shape[2] > 16:
        x = x + torch.from_numpy(x.detach().numpy()) * 0 if x.shape[2] < 100 else x
    return nested(x)


def of_one_row(x: Tensor) -> Tensor:
    """Not one row at the smallest height."""
    rows = x[:, :, : x.shape[2] % 8 + 1]
    return rows * 2 if rows.shape[2] == 1 else rows


class Calling(nn.Module):
    """A function of what a convolution gives."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 3, padding=1)
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(self.conv(x))


@pytest.mark.parametrize("function", [nested, of_a_function])
def test_a_module_with_a_branch_inside_of_a_branch(function: Callable[[Tensor], Tensor]) -> None:
    image = torch.randn(2, 3, 16, 16)
    target = from_module(Calling(function).eval(), image, dynamic="batch=1:2:8,height=5:16:32,width=5:16:32")
    _, axes = tracing.export_program(target, target.build())
    assert not {19, 27} & {*axes["height"].sizes}
    target = from_module(Calling(function).eval(), image[:, :, 1:], dynamic="height=5:15:32")
    with pytest.raises(ModuleRefused, match=re.escape("does not hold for height 19, 27 at ") + r".*test_paths.py:\d+ "):
        tracing.export_program(target, target.build())


def test_what_only_a_run_with_data_gets_through_is_not_claimed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paths, "MOST_PATHS", 20)
    target = from_module(Calling(of_numbers).eval(), torch.randn(2, 3, 16, 16), dynamic="height=5:16:32")
    _, axes = tracing.export_program(target, target.build())
    assert axes == {"height": Axis(6, 16, 32, multiple=2)}
    target = from_module(Calling(of_numbers).eval(), torch.randn(2, 3, 16, 16), dynamic="height=5:16:32,width=5:16:32")
    with pytest.raises(ModuleRefused, match="is proven only if the sizes take one of the first 20 ways through"):
        tracing.export_program(target, target.build())


def test_a_branch_on_an_inner_size_of_one() -> None:
    target = from_module(Calling(of_one_row).eval(), torch.randn(2, 3, 20, 16), dynamic="height=17:20:31")
    with pytest.raises(ModuleRefused, match=re.escape("does not hold for height 24 at ") + r".*test_paths.py:\d+ "):
        tracing.export_program(target, target.build())


class OfACopy(nn.Module):
    """Chooses the strides of a copy, for which torch takes a batch of 1 for a number, before it asks for the batch."""

    def forward(self, x: Tensor) -> Tensor:
        x = x.transpose(2, 3).clone().transpose(2, 3)
        if x.shape[0] * x.shape[2] > 60 and x.shape[0] == 3 and x.shape[2] == 77:
            return x * 3.0
        return x * 1.0


def test_a_branch_behind_a_choice_of_strides() -> None:
    image, dynamic = torch.randn(2, 3, 24, 16), "batch=1:2:4,height=8:24:100,width=8:16:40"
    target = from_module(OfACopy().eval(), image, dynamic=dynamic)
    _, axes = tracing.export_program(target, target.build())
    assert 77 not in axes["height"].sizes


class OneRowOfWindows(nn.Module):
    """Goes another way beyond one row of windows, as Swin does; the trace of one row takes their number for 1."""

    def forward(self, x: Tensor) -> Tensor:
        rows = (x.shape[2] + 7) // 8
        padded = nn.functional.pad(x, (0, 0, 0, rows * 8 - x.shape[2]))
        windows = padded.view(x.shape[0], 3, rows, 8, x.shape[3]).transpose(1, 2).clone().softmax(3)
        return windows * 2.0 if x.shape[2] > 8 else windows


def test_a_branch_that_no_trace_is_right_beyond_leaves_the_sizes_of_the_first() -> None:
    target = from_module(OneRowOfWindows().eval(), torch.randn(2, 3, 8, 16), dynamic="height=4:8:32,width=8:16:40")
    said = re.escape("holds only for height 4 to 8 at ") + ".*" + re.escape("narrow it to height=4:8:8 in --dynamic")
    with pytest.raises(ModuleRefused, match=said):
        tracing.export_program(target, target.build())


class Compiled(nn.Module):
    @torch.compile(backend=no_compiler)
    def forward(self, x: Tensor) -> Tensor:
        return x.relu() if x.shape[0] < 100 else x


def test_what_torch_compile_was_given_is_traced_without_compiling_it(tmp_path: Path) -> None:
    _, graph = exported(Compiled(), tmp_path, "batch=1:2:3", (2, 4))
    assert graph.inputs[0].shape == ("batch", 4)
