"""A cached function takes traced sizes, as though it had no cache, wherever a module holds it."""

from __future__ import annotations

import contextlib
import functools

import pytest
import torch
from in_closures import behind_a_function
from torch import Tensor, nn

from attn2trt.export.trace import tracing
from attn2trt.modules.own_module import from_module


@functools.lru_cache(maxsize=4)
def cells(shape: torch.Size, *, step: int) -> tuple[int, int]:
    rows, columns = shape[2:]
    return int(rows / step), columns // step


@functools.cache
def factor(size: int) -> float:
    return 2.0 if size == 14 else 1.0


class OfAFile(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.interpolate(x, cells(x.shape, step=2)) * cells.cache_info().maxsize


class OfAClass(nn.Module):
    @functools.lru_cache  # noqa: B019
    def method(self, rows: int) -> int:
        return rows // 2

    @staticmethod
    @functools.cache
    def static(columns: int) -> int:
        return columns // 2

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.interpolate(x, (self.method(x.shape[2]), self.static(x.shape[3])))


class OfAPart(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.half = functools.cache(lambda size: size // 2)

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.interpolate(x, (self.half(x.shape[2]), self.half(x.shape[3])))


class OfAClosure(nn.Module):
    half = staticmethod(behind_a_function(lambda size: size // 2))

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.interpolate(x, (self.half(x.shape[2]), self.half(x.shape[3])))


class Caught(nn.Module):
    """Has what the cached function computes in the trace, and not what follows an error that only the trace raises."""

    def forward(self, x: Tensor) -> Tensor:
        with contextlib.suppress(TypeError):
            return x * factor(x.shape[2])
        return x * 1.0


def sizes_of(module: nn.Module) -> set[int]:
    target = from_module(module.eval(), torch.randn(2, 3, 12, 16), dynamic="batch=1:2:4,height=8:12:40,width=8:16:40")
    return set(tracing.export_program(target, target.build())[1]["height"].sizes)


@pytest.mark.parametrize("kind", [OfAFile, OfAClass, OfAPart, OfAClosure])
def test_every_size_is_taken(kind: type[nn.Module]) -> None:
    held = dict(vars(kind))
    assert sizes_of(kind()) == set(range(8, 41))
    assert dict(vars(kind)) == held


def test_a_size_that_decides_in_a_cached_function_is_found() -> None:
    assert 14 not in sizes_of(Caught())
