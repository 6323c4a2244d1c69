"""In a trace views of contiguous tensors have the sizes that are asked for, and no kernel is chosen by a size."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn import functional

from attn2trt.core.tensor_spec import Axis
from attn2trt.export.trace import following, tracing
from attn2trt.modules.own_module import from_module


class Windows(nn.Module):
    """Cuts a padded map into windows of 8 by 8, and puts them together again."""

    def forward(self, x: Tensor) -> Tensor:
        x = functional.pad(x, (0, -x.shape[3] % 8, 0, -x.shape[2] % 8))
        batch, channels, height, width = x.shape
        rows, columns = height // 8, width // 8
        windows = x.view(batch, channels, rows, 8, columns, 8).permute(0, 2, 4, 3, 5, 1).reshape(-1, 64, channels)
        windows = windows.softmax(1).view(batch, rows, columns, 8, 8, channels).permute(0, 5, 1, 3, 2, 4)
        return windows.reshape(batch, channels, height, width)


class OfPermuted(nn.Module):
    """Views a tensor that is not contiguous, whose memory has every row in place."""

    def forward(self, x: Tensor) -> Tensor:
        columns = x.transpose(2, 3)
        return columns.view(1, x.shape[0], 3, x.shape[3], 1, x.shape[2]) * 2.0


class InPairs(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.view(x.shape[0], 3, x.shape[2] // 2, 2, -1) * 2.0


class Convolved(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(3, 8, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.convolution(x * 1.0 if x.shape[0] * x.shape[2] > 60 else x + 0.0)


def traced(
    module: nn.Module, batch: str = "1:2:4", sizes: str = "8:24:40"
) -> tuple[torch.export.ExportedProgram, Mapping[str, Axis]]:
    dynamic = f"batch={batch},height={sizes},width=8:16:40"
    target = from_module(module.eval(), torch.randn(int(batch.split(":")[1]), 3, 24, 16), dynamic=dynamic)
    return tracing.export_program(target, target.build())


def test_sizes_of_windows_are_those_that_are_asked_for() -> None:
    program, _ = traced(Windows())
    shapes = [node.meta["val"].shape for node in program.graph.nodes if "view" in str(node.target)]
    assert [[size for size in shape if isinstance(size, int)] for shape in shapes] == [[3, 8, 8], [8, 8, 3]]


def test_a_view_of_another_tensor_is_taken() -> None:
    program, axes = traced(OfPermuted())
    assert {str(axis) for axis in axes.values()} == {"1:2:4", "8:24:40", "8:16:40"}
    x = torch.randn(2, 3, 24, 16)
    torch.testing.assert_close(program.module()(x), OfPermuted()(x))


def test_sizes_without_such_a_view_are_left_out() -> None:
    _, axes = traced(InPairs())
    assert set(axes["height"].sizes) == set(range(8, 41, 2))


def test_no_kernel_of_a_convolution_is_a_branch(monkeypatch: pytest.MonkeyPatch) -> None:
    followed = []

    def noting(*args: Any, **options: Any) -> Any:
        followed.append(args[3])
        return following.followed(*args, **options)

    monkeypatch.setattr(tracing, "followed", noting)
    threads = torch.get_num_threads()
    torch.set_num_threads(2)  # on one thread torch asks less
    try:
        traced(Convolved(), sizes="8:24:200")
    finally:
        torch.set_num_threads(threads)
    assert [sizes["batch"] for sizes in followed] == [1, 2]


@pytest.mark.parametrize(("dynamic", "is_kept"), [("batch=1:2:4", True), ("batch=1:2:4,height=8:24:40", False)])
def test_results_of_operators_are_kept_if_one_axis_varies(dynamic: str, is_kept: bool) -> None:
    FakeTensorMode.cache_clear()
    target = from_module(Convolved().eval(), torch.randn(2, 3, 24, 16), dynamic=dynamic)
    tracing.export_program(target, target.build())
    counts = FakeTensorMode.cache_info()
    assert bool(counts.hits + counts.misses) is is_kept
