"""What a function keeps behind a cache in one run is not given to a run in another type, nor to the caller's module."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import pytest
import torch
from in_closures import behind_a_function
from torch import Tensor, nn

from attn2trt.validate.cases import Case
from attn2trt.validate.reference import references

X = np.random.default_rng(0).standard_normal((2, 6, 4)).astype(np.float32)


def rows(count: int, channels: int, dtype: torch.dtype) -> Tensor:
    angles = torch.arange(count, dtype=torch.float64).outer(torch.arange(1, channels + 1, dtype=torch.float64))
    return (angles / 7).sin().to(dtype)


of_a_file = functools.lru_cache(maxsize=8)(rows)


class OfAFile(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x + self.rows(x.shape[1], x.shape[2], x.dtype))

    def rows(self, *args: Any) -> Tensor:
        return of_a_file(*args)


class OfAClosure(OfAFile):
    rows = staticmethod(behind_a_function(rows))


class OfAnInstance(OfAFile):
    def __init__(self) -> None:
        super().__init__()
        self.rows = functools.lru_cache(rows)


@pytest.mark.parametrize("kind", [OfAFile, OfAClosure, OfAnInstance])
def test_a_cache_is_not_shared_between_types(kind: type[OfAFile]) -> None:
    module = kind().eval()
    with torch.no_grad():
        before = module(torch.from_numpy(X))
        first, second = references(module, [Case.of(name, {"x": X}) for name in ("one", "two")])
        after = module(torch.from_numpy(X))
    assert after.dtype == torch.float32
    assert torch.equal(before, after)
    weight, bias = (value.detach().double().numpy() for value in module.layer.parameters())
    exact = (X.astype(np.float64) + rows(6, 4, torch.float64).numpy()) @ weight.T + bias
    for found in (first, second):
        assert not found.no_float64
        assert np.abs(found.outputs64["output"] - exact).max() < 1e-14
        assert found.outputs32["output"].dtype == np.float32


def test_numbers_stay_in_a_cache() -> None:
    asked = []

    @functools.cache
    def half(size: int) -> int:
        asked.append(size)
        return size // 2

    class Half(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x[:, : half(x.shape[1])]

    for _ in references(Half(), [Case.of("one", {"x": X})]):
        pass
    assert asked == [6]
