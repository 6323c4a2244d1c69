"""Python that computes with sizes: as numbers in eager, and at every size in the graph."""

from __future__ import annotations

import builtins
import functools
import math
from collections.abc import Callable
from math import prod
from pathlib import Path

import numpy as np
import pytest
import torch
from sized import check_right, exported
from torch import Tensor, nn
from torch.nn import functional as F

from attn2trt.errors import ModuleRefused
from attn2trt.export.trace.size_numbers import sizes_stay_numbers

RANGES = "dim0=2:6:14,dim1=2:5:9"
SIZES = ((2, 9), (3, 4), (7, 7), (10, 2), (13, 6))


class Ones(nn.Module):
    """As many ones as each of ``counts`` makes of the sizes of a matrix."""

    def __init__(self, *counts: Callable[[Tensor], int]) -> None:
        super().__init__()
        self.counts = counts

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        return tuple(x.new_ones(count(x)) * x.mean() for count in self.counts)


COUNTS: tuple[Callable[[Tensor], int], ...] = (
    lambda x: len(x) + len(x.shape) + len([1, 2]),
    lambda x: round(x.shape[0] / 2) + round(x.shape[0]) + 1,
    lambda x: round(x.shape[0] * 0.7 + x.shape[1] / 3),
    lambda x: math.ceil(x.shape[0] / 4) + math.floor(x.shape[1] / 2) + math.trunc(x.shape[0] / 3),
    lambda x: x.shape[0] + (-x.shape[0]) % 4,
    lambda x: sum(divmod(x.shape[0], 4)),
    lambda x: 9 - (-x.shape[0] // 4) + (x.shape[1] - 8) // 3 - x.shape[0] // -5,
    lambda x: x.shape[0] + (x.shape[0] % 4 != 0) * (4 - x.shape[0] % 4),
    lambda x: 2 - int(x.shape[0] > x.shape[1]) + 3 * (x.shape[0] % 2 == 1),
    lambda x: 1 + sum([x.shape[0] % 2 != 0, x.shape[1] > 4]),
    lambda x: x.shape[0] - (x.shape[0] >= 5) + (x.shape[1] < 3),
    lambda x: max(x.shape[0], int(x.shape[1] * 1.5)) + min(x.shape),
    lambda x: int(np.prod(x.shape[-2:])) + int(np.ceil(x.shape[0] / 4)) + int(np.sqrt(x.shape[0])),
    lambda x: prod(x.shape) + math.prod([x.shape[0], 2]),
    lambda x: 1 + int(x.shape[0] / 4.0) + int(x.shape[0] * 3 / x.shape[1]),
    lambda x: (
        30 + int((x.shape[0] - 9) / 4) + int((x.shape[1] - 20) / 3.0) + int(x.shape[0] / 2.5) + int(x.shape[1] / -2)
    ),
)


def test_sizes_stay_symbolic(tmp_path: Path) -> None:
    target, graph = exported(Ones(*COUNTS), tmp_path, RANGES, (6, 5))
    assert graph.axes == target.axes
    for sizes in SIZES:
        check_right(target, graph, dict(zip(("dim0", "dim1"), sizes, strict=True)))


class LearnedQueries(nn.Module):
    """Queries repeated for each image of a batch that is counted by ``len``, as detectors with queries do."""

    def __init__(self) -> None:
        super().__init__()
        self.queries = nn.Parameter(torch.randn(5, 8))

    def forward(self, x: Tensor) -> Tensor:
        return self.queries.unsqueeze(0).tile([len(x), 1, 1]) @ x.transpose(1, 2)


def test_a_batch_that_is_counted_by_len(tmp_path: Path) -> None:
    target, graph = exported(LearnedQueries(), tmp_path, "batch=1:2:4", (2, 6, 8))
    for batch in (1, 3, 4):
        check_right(target, graph, {"batch": batch})


class Windows(nn.Module):
    """Windows of a map and back, the batch counted as public code of window attention does."""

    def forward(self, x: Tensor) -> Tensor:
        _, channels, height, width = x.shape
        parts = x.permute(0, 2, 3, 1).view(-1, height // 4, 4, width // 4, 4, channels).permute(0, 1, 3, 2, 4, 5)
        windows = parts.reshape(-1, 16, channels).softmax(1)
        batch = int(windows.shape[0] / (height * width / 4 / 4))
        back = windows.view(batch, height // 4, width // 4, 4, 4, -1).permute(0, 1, 3, 2, 4, 5)
        return back.reshape(batch, height, width, -1)


def test_a_quotient_of_whole_numbers_is_divided_as_such(tmp_path: Path) -> None:
    target, graph = exported(Windows(), tmp_path, "batch=1:2:4", (2, 3, 8, 12))
    assert [str(size) for size in graph.outputs[0].shape] == ["batch", "8", "12", "3"]
    check_right(target, graph, {"batch": 3})


def test_a_branch_on_a_size_is_still_a_branch(tmp_path: Path) -> None:
    with pytest.raises(ModuleRefused, match=r"does not hold for dim0 4, 8, 12 at .*; remove the branch on that size"):
        exported(Ones(lambda x: x.shape[0] if x.shape[0] % 4 else 3), tmp_path, RANGES, (6, 5))


def double(function: Callable[[int], int]) -> Callable[[int], int]:
    """A decorator, so that the function that counts is found behind another."""

    @functools.wraps(function)
    def doubled(value: int) -> int:
        return 2 * function(value)

    return doubled


def test_what_a_module_calls_is_found_wherever_it_is_held(tmp_path: Path) -> None:
    source = "def count(x):\n    return len(x) + round(len(x) / 2)\n"
    held: dict[str, dict[str, object]] = {where: {"__name__": "own_helpers"} for where in ("plain", "hook", "wrapped")}
    for namespace in held.values():
        exec(source, namespace)
    counts = {where: namespace["count"] for where, namespace in held.items()}
    module = nn.Sequential(Ones(), nn.ReLU())
    module[0].counts = functools.partial(counts["plain"])  # type: ignore[arg-type]
    module[1].register_forward_hook(counts["hook"])  # type: ignore[arg-type]
    module.count = double(counts["wrapped"])  # type: ignore[assignment, arg-type]
    with sizes_stay_numbers(module):
        assert all(namespace["len"] is not builtins.len for namespace in held.values())
    assert not any("len" in namespace for namespace in held.values())


def test_sizes_behave_as_before_when_the_trace_has_ended(tmp_path: Path) -> None:
    before = {name: getattr(torch.SymInt, name) for name in ("__add__", "__mul__", "__truediv__")}
    exported(Ones(COUNTS[5]), tmp_path, "dim0=2:6:14", (6, 5))
    assert {name: getattr(torch.SymInt, name) for name in before} == before
    assert (len, round, math.sqrt(4)) == (builtins.len, builtins.round, 2)


@pytest.mark.parametrize(
    "count",
    [lambda x: int(x.shape[0] * 0.29), lambda x: len(F.interpolate(x[None, None], scale_factor=0.29)[0, 0])],
    ids=["int", "interpolate"],
)
def test_a_size_that_float32_rounds_otherwise_is_not_claimed(count: Callable[[Tensor], int], tmp_path: Path) -> None:
    # 100 * 0.29 is 28.999999999999996 in Python, and 29 in float32
    reason = (
        r"does not hold for dim0 100 at .*; compute it from whole numbers, .*narrow it to dim0=90:96:99 in --dynamic"
    )
    with pytest.raises(ModuleRefused, match=reason):
        exported(Ones(count), tmp_path, "dim0=90:96:109", (96, 5))
    target, graph = exported(Ones(count), tmp_path, "dim0=90:96:99", (96, 5))
    for size in graph.axes["dim0"].sizes:
        check_right(target, graph, {"dim0": size})


def test_a_size_that_float32_rounds_alike_is_no_restriction(tmp_path: Path) -> None:
    target, graph = exported(
        Ones(lambda x: int(x.shape[0] * 0.5) + math.ceil(x.shape[1] / 3)), tmp_path, RANGES, (6, 5)
    )
    assert graph.axes == target.axes


class Quiet(nn.Module):
    """Shares of a large image, all of them below 1e-5, and half of them for one height."""

    def forward(self, x: Tensor) -> Tensor:
        shares = (x * 0.1).flatten().softmax(0).reshape(x.shape)
        return shares * 0.5 if x.shape[0] == 303 else shares


def test_a_branch_shows_in_an_output_however_small_it_is(tmp_path: Path) -> None:
    _, graph = exported(Quiet(), tmp_path, "dim0=296:300:310", (300, 400))
    assert 303 not in graph.axes["dim0"].sizes
