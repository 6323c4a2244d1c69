"""The float64 truth runs whatever eager float32 runs, and computes the same function."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from attn2trt.validate.cases import Case
from attn2trt.validate.float64 import FLOAT32_MAX, float64_mode
from attn2trt.validate.reference import references

X = np.random.default_rng(0).standard_normal((2, 6, 6)).astype(np.float32)
PLACES = torch.tensor([0, 3, 5])
STORED = torch.tensor([0.25, 0.5, 2.0])  # outside of the module: float32, also while the module is float64


class Function(nn.Module):
    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.mix = nn.Linear(6, 6)
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(self.mix(x))


def branched(x: Tensor) -> Tensor:
    """A formula of float32 alone, as a faster one or another epsilon."""
    return F.gelu(x, approximate="tanh" if x.dtype == torch.float32 else "none")


def scattered(x: Tensor) -> Tensor:
    index = torch.arange(6)[None, :, None].expand(len(x), -1, 6)
    return torch.zeros(len(x), 9, 6).scatter_(1, index, x)


def written(x: Tensor) -> Tensor:
    canvas = torch.zeros(x.shape[0], 9, 6)
    canvas[:, torch.arange(6)] = x
    return canvas


def ones_assigned(x: Tensor) -> Tensor:
    x[:, PLACES, PLACES] = torch.ones(3)
    return x


def accumulated(x: Tensor) -> Tensor:
    total = torch.zeros_like(x)
    total.index_put_((torch.zeros(3, dtype=torch.int64), PLACES, PLACES), torch.full((3,), 0.5), accumulate=True)
    return total + x


def added_at(x: Tensor) -> Tensor:
    return torch.ones(9, 6).index_add_(0, torch.arange(6), x[0]).index_copy_(0, PLACES, x[1, :3])


def masked(x: Tensor) -> Tensor:
    mask = torch.full((6, 6), torch.finfo(x.dtype).min).triu(1)
    return (x + mask).softmax(-1)


def masked_scattered(x: Tensor) -> Tensor:
    return torch.zeros(2, 6, 6).masked_scatter_(torch.ones(6, 6, dtype=torch.bool).tril(), x)


def guarded(x: Tensor) -> Tensor:
    return x / (x.norm() * 1e-7 + torch.finfo(x.dtype).eps)


def labelled(x: Tensor) -> Tensor:
    with torch.profiler.record_function("gate"):
        return x.sigmoid()


def into_out(x: Tensor) -> Tensor:
    return torch.add(x, 1, out=torch.empty(2, 6, 6))


def stacked(x: Tensor) -> Tensor:
    rows = torch.empty(0, 6)
    for row in x[0]:
        rows = torch.cat([rows, row[None]])
    return rows @ torch.eye(6) + torch.linspace(0, 1, 6) + torch.tensor([0.25, 0.5, 1, 2, 4, 8])


def spectrum(x: Tensor) -> Tensor:
    kept = torch.zeros(2, 6, 4, dtype=torch.complex64)
    kept[..., :3] = torch.fft.rfft(x)[..., :3]
    return torch.fft.irfft(kept, n=6)


def stored_assigned(x: Tensor) -> Tensor:
    x[:, PLACES, PLACES] = STORED
    return x


def added_to_itself(x: Tensor) -> Tensor:
    """What is written into a conversion of float32 to float32 is written into the tensor."""
    for same in (x.float(), x.to(torch.float32), x.to("cpu", dtype=x.dtype), x.type(torch.float32)):
        same.add_(1)
    return x


def added_to_a_copy(x: Tensor) -> Tensor:
    for other in (x.double(), x.to(torch.float64), x.to(torch.float32, copy=True), x.half(), x.type(torch.float64)):
        other.add_(1)
    return x


FUNCTIONS = [
    *(scattered, written, ones_assigned, accumulated, added_at, masked, masked_scattered, guarded),
    *(labelled, into_out, stacked, spectrum, branched, stored_assigned, added_to_itself, added_to_a_copy),
]


@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda function: function.__name__)
def test_the_truth_is_float64_and_the_same_function(function: Callable[[Tensor], Tensor]) -> None:
    torch.manual_seed(0)
    module = Function(function).requires_grad_(False)
    found = next(references(module, [Case.of("one", {"x": X})]))
    assert not found.no_float64
    truth = found.outputs64["output"]
    assert truth.dtype == np.float64
    assert 0 < found.floors["output"].l2 < 1e-6 or function is masked
    assert np.allclose(truth, module(torch.from_numpy(X)).numpy(), rtol=1e-5, atol=1e-6)


def test_data_parallel_runs_as_what_it_wraps() -> None:
    torch.manual_seed(0)
    module = Function(F.relu)
    found, wrapped = (next(references(one, [Case.of("one", {"x": X})])) for one in (module, nn.DataParallel(module)))
    assert not wrapped.no_float64
    assert np.array_equal(found.outputs64["output"], wrapped.outputs64["output"])


def test_finfo_answers_for_float32_inside_alone() -> None:
    with float64_mode(), float64_mode():
        assert torch.finfo(torch.float64).eps == torch.finfo().eps == 2.0**-23
        assert torch.finfo(torch.float16).eps == 2.0**-10
        assert isinstance(torch.finfo(torch.float64), torch.finfo)
        made = torch.full((2,), 1e300)
        assert torch.full((2,), 1e300).max() == FLOAT32_MAX == torch.finfo(torch.float64).max
        assert torch.full((2,), float("inf")).isinf().all()
    assert made.dtype == torch.float64
    assert torch.finfo(torch.float64).eps == 2.0**-52
    assert isinstance(torch.finfo(torch.float64), torch.finfo)


def test_a_dtype_answers_for_float32_inside_alone() -> None:
    x = torch.ones(2, dtype=torch.float64)
    with float64_mode():
        assert x.dtype == x.sum().dtype == torch.float32
        made = torch.zeros(2, dtype=x.dtype).type(x.dtype) + x.to(x.dtype)
        assert (x > 0).dtype == torch.bool
        assert x.half().dtype == torch.float32  # as wide as all else
        assert (x.element_size(), x.itemsize, x.nbytes, x.type()) == (4, 4, 8, "torch.FloatTensor")
        assert isinstance(x, torch.FloatTensor)
        assert x.type(torch.FloatTensor).dtype == torch.float32
        assert (x.long().element_size(), x.long().type()) == (8, "torch.LongTensor")
        assert torch.result_type(x, x) == torch.promote_types(x.dtype, torch.float16) == torch.float32
    assert made.dtype == x.dtype == torch.float64
    assert not isinstance(x, torch.FloatTensor)
    with float64_mode(widens=False):
        assert x.dtype == torch.float64


def test_what_is_kept_in_its_own_type_is() -> None:
    with float64_mode(widens=False):
        assert torch.zeros(2).dtype == torch.float32
        assert torch.finfo(torch.float64).eps == 2.0**-52
