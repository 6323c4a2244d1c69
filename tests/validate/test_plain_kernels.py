"""Plain kernels compute what PyTorch's do, and lose what a runtime's may lose."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from attn2trt.validate.cases import Case
from attn2trt.validate.metrics import LIMIT, measure
from attn2trt.validate.plain_kernels import plain_kernels_mode
from attn2trt.validate.reference import references


class Mean(nn.Module):
    def __init__(self, dims: tuple[int, ...], keepdim: bool = False) -> None:
        super().__init__()
        self.dims, self.keepdim = dims, keepdim

    def forward(self, x: Tensor) -> Tensor:
        return x.mean(self.dims, keepdim=self.keepdim) + x.sum(self.dims, keepdim=self.keepdim) / 100


@pytest.mark.parametrize("keepdim", [False, True])
@pytest.mark.parametrize("dims", [(2, 3), (1,), (-1,), (0, 2), (3, 1)])
def test_plain_sums_are_the_same_sums(dims: tuple[int, ...], keepdim: bool) -> None:
    x = np.random.default_rng(0).standard_normal((2, 5, 3, 19)).astype(np.float32)
    reference = next(references(Mean(dims, keepdim), [Case.of("one", {"x": x})]))
    assert reference.floors["output"].max < 1e-5


def test_a_sum_over_everything_is_a_plain_loop_too() -> None:
    def lost(*, is_plain: bool) -> float:
        worst = 0.0
        for seed in range(5):
            x = torch.from_numpy((4 + np.random.default_rng(seed).standard_normal((2, 8, 90, 90))).astype(np.float32))
            with plain_kernels_mode() if is_plain else contextlib.nullcontext():
                found = x.mean() + x.sum() / x.numel()
            worst = max(worst, abs(found.item() - 2 * x.double().mean().item()))
        return worst

    assert lost(is_plain=True) > 2 * lost(is_plain=False)


@pytest.mark.parametrize(("dim", "roundings"), [(0, 100.0), (1, 5.0)])
def test_a_sum_over_an_outer_axis_has_one_accumulator_for_each_result(dim: int, roundings: float) -> None:
    equal = torch.full((785, 785), 1 / 785)
    with plain_kernels_mode():
        lost = (equal.mean(dim) * 785 - 1).abs().max().item() / 2**-24
    assert roundings / 5 < lost < 1.5 * roundings


@pytest.mark.parametrize(
    ("shape", "dims", "roundings"),
    [
        ((2, 4096), 1, 47),  # eight accumulators
        ((2, 4096, 3), 1, 170),  # one, four terms at a time
        ((2, 64, 64, 3), (1, 2), 170),
        ((2, 4096, 1), 1, 170),  # one axis behind them
        ((1, 4096, 3), 1, 679),  # one by one
        ((4096, 1), 0, 679),
        ((1, 160, 160, 3), (1, 2), 1412),
        ((2, 64, 3, 64), (1, 3), 679),  # apart
        ((1, 64, 3, 64), (1, 3), 679),
        ((1, 1, 300, 300), (2, 3), 1816),
    ],
)
def test_a_mean_of_equal_numbers_loses_what_onnx_runtime_does(
    shape: tuple[int, ...], dims: int | tuple[int, ...], roundings: float
) -> None:
    equal = torch.full(shape, 0.7)
    with plain_kernels_mode():
        lost = (equal.mean(dims) / equal.double().mean(dims) - 1).abs().max().item() / 2**-24
    assert abs(lost - roundings) < 4


def test_a_sum_of_one_number_without_an_axis_is_that_number() -> None:
    one = torch.tensor(3.5)
    with plain_kernels_mode():
        found = torch.stack([one.sum(), one.mean(), torch.linalg.vector_norm(one), one.logsumexp(0)])
    torch.testing.assert_close(found, torch.full((4,), 3.5))


def test_a_norm_of_a_large_map_has_one_accumulator() -> None:
    equal = torch.full((1, 2, 160, 160), 0.7)
    with plain_kernels_mode():
        lost = (torch.linalg.vector_norm(equal, dim=(2, 3)) / equal.double().norm(dim=(2, 3)) - 1).abs().max().item()
    assert abs(lost / 2**-24 - 2652) < 4


class MeanOfAlike(nn.Module):
    """The mean over tokens near 0.7, by one more than there are if ``more`` is 1."""

    def __init__(self, more: int = 0) -> None:
        super().__init__()
        self.more = more

    def forward(self, x: Tensor) -> Tensor:
        return (x.sigmoid() * 1e-5 + 0.7).sum(1) / (x.shape[1] + self.more)


@pytest.mark.parametrize("width", [1, 3])
def test_one_term_of_4096_shows_in_a_mean_of_equal_numbers(width: int) -> None:
    cases = [Case.of("one", {"x": np.random.default_rng(0).standard_normal((2, 4096, width), np.float32)})]
    reference = next(references(MeanOfAlike(), cases))
    wrong = MeanOfAlike(1)(torch.from_numpy(cases[0].feeds["x"])).numpy()
    found = measure(wrong, reference.outputs64["output"])
    assert found.l2 > LIMIT * reference.floors["output"].l2


WITH_SUMS: dict[str, Callable[[Tensor], Any]] = {
    "a sum in a type": lambda x: x.sum(1, dtype=torch.float32),
    "a mean in a type": lambda x: x.mean(1, dtype=torch.float32),
    "nanmean": lambda x: torch.nanmean(x, 1),
    "norm": lambda x: torch.linalg.vector_norm(x, dim=1),
    "normalize": lambda x: nn.functional.normalize(x, dim=1),
    "logsumexp": lambda x: (x - 8).logsumexp(1),
    "std_mean": lambda x: torch.std_mean(x, 1)[1],
    "dot": lambda x: torch.dot(x[0], x[0]),
    "mv": lambda x: torch.mv(x, x[0]),
    "baddbmm": lambda x: torch.baddbmm(x[None, :, :2], x[None], x[None, :2].mT),
    "a squared distance": lambda x: nn.functional.mse_loss(x, x * 0),
    "a smooth distance": lambda x: nn.functional.smooth_l1_loss(x, x * 0),
    "entropy": lambda x: nn.functional.binary_cross_entropy_with_logits(x, x * 0),
}


@pytest.mark.parametrize("compute", WITH_SUMS.values(), ids=WITH_SUMS)
def test_a_sum_inside_of_an_operator_is_a_plain_one(compute: Callable[[Tensor], Any]) -> None:
    """Of equal numbers, as in an image of zeros behind a bias, a loop loses most and PyTorch mostly nothing."""
    equal, other = torch.full((2, 4096), 0.7), torch.rand(2, 4096, generator=torch.Generator().manual_seed(0))
    with plain_kernels_mode():
        plain, random = compute(equal), compute(other)
    lost = (plain / compute(equal.double()) - 1).abs().max()
    assert 5e-7 < lost < 1e-4
    torch.testing.assert_close(random, compute(other), rtol=2e-5, atol=1e-6)


@pytest.mark.parametrize(("size", "lost"), [(32, (0.0, 2e-4)), (100, (0.06, 0.2))])
def test_a_deviation_of_nearly_equal_numbers_loses_by_the_mean_what_onnx_runtime_does(
    size: int, lost: tuple[float, float]
) -> None:
    """ONNX Runtime loses 6e-5 of it at 32 x 32, and a tenth at 100 x 100."""
    x = 0.7 + 1e-5 * torch.randn(1, 8, size, size, generator=torch.Generator().manual_seed(0))
    with plain_kernels_mode():
        found = measure(x.std((2, 3)).numpy(), x.double().std((2, 3)).numpy())
    assert lost[0] <= found.l2 < lost[1]


@pytest.mark.parametrize("options", [{"dim": (1, 3)}, {"dim": 2, "correction": 0, "keepdim": True}])
@pytest.mark.parametrize("compute", [torch.var, torch.std, torch.var_mean])
def test_plain_variances_are_the_same_variances(compute: Any, options: dict[str, Any]) -> None:
    x = torch.from_numpy(np.random.default_rng(0).standard_normal((2, 5, 3, 19)).astype(np.float32))
    with plain_kernels_mode():
        plain = compute(x, **options)
    torch.testing.assert_close(plain, compute(x, **options), rtol=1e-5, atol=1e-6)
    assert not any(map(torch.equal, tree_leaves(plain), tree_leaves(compute(x, **options))))
    with plain_kernels_mode():
        torch.testing.assert_close(compute(x), compute(x.flatten(), dim=0))


def test_the_floor_is_that_of_a_plain_loop_where_pytorch_sums_more_carefully() -> None:
    """Over a large image whose mean is not zero a runtime's loop loses several times what PyTorch's cascade loses."""
    x = (4 + 0.1 * np.random.default_rng(0).standard_normal((2, 8, 160, 160))).astype(np.float32)
    truth = torch.from_numpy(x).double().mean((2, 3)) + torch.from_numpy(x).double().sum((2, 3)) / 100
    careful = measure(Mean((2, 3))(torch.from_numpy(x)).numpy(), truth.numpy())
    plain = next(references(Mean((2, 3)), [Case.of("one", {"x": x})])).floors["output"]
    assert plain.l2 > 2 * careful.l2
    loop = np.zeros((2, 8, 8), np.float32)
    for start in range(0, 160 * 160, 8):
        loop += x.reshape(2, 8, -1)[..., start : start + 8]
    mean = x.astype(np.float64).mean((2, 3))
    assert np.abs(loop.sum(-1) / np.float32(160 * 160) / mean - 1).max() < 4 * plain.max


@pytest.mark.parametrize(
    "norm", [nn.GroupNorm(2, 6), nn.InstanceNorm2d(6, affine=True), nn.LayerNorm([6, 5, 7])], ids=str
)
def test_plain_sums_are_the_same_normalisations(norm: nn.Module) -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(3, 6, 5, 7, generator=generator)
    with torch.no_grad():
        for parameter in norm.parameters():
            parameter.copy_(torch.rand(parameter.shape, generator=generator) + 0.5)
        expected = norm(x)
        with plain_kernels_mode():
            found = norm(x)
    assert found.shape == expected.shape
    torch.testing.assert_close(found, expected)


def test_an_instance_norm_of_equal_values_loses_what_a_plain_mean_does() -> None:
    x = torch.full((1, 2, 16, 24, 24), 0.7) + torch.randn(1, 2, 16, 24, 24).mul(1e-5)
    module = nn.InstanceNorm3d(2)
    truth = module(x.double()).numpy()
    with plain_kernels_mode():
        found = measure(module(x).numpy(), truth)
    assert found.l2 > 3 * measure(module(x).numpy(), truth).l2


@pytest.mark.parametrize("axis", [1, -1])
def test_a_running_sum_loses_what_adding_in_order_does(axis: int) -> None:
    x = torch.full((2, 784, 784), 0.3)
    truth = x.double().cumsum(axis).numpy()
    with plain_kernels_mode():
        found = measure(x.cumsum(axis).numpy(), truth)
    assert 5e-7 < found.l2 < 1e-4
    assert found.l2 > 3 * measure(x.cumsum(axis).numpy(), truth).l2


def test_a_batch_norm_by_running_statistics_has_no_sum_to_lose_by() -> None:
    module = nn.BatchNorm2d(3).eval()
    x = torch.randn(2, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    with plain_kernels_mode(), torch.no_grad():
        torch.testing.assert_close(module(x), x / (1 + module.eps) ** 0.5)


@pytest.mark.parametrize(
    "module",
    [nn.Linear(19, 5), nn.Linear(19, 5, bias=False), nn.Softmax(1), nn.Sigmoid(), nn.SiLU()],
    ids=str,
)
def test_plain_kernels_compute_the_same(module: nn.Module) -> None:
    x = torch.randn(7, 19, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = module(x)
        with plain_kernels_mode():
            found = module(x)
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize(
    ("rows", "terms", "columns"), [(3, 19, 4), (2, 2500, 3), (50, 7, 60), (50, 1030, 60), (4, 0, 5), (0, 4, 5)]
)
def test_plain_products_are_the_same_products(rows: int, terms: int, columns: int) -> None:
    generator = torch.Generator().manual_seed(0)
    a = torch.randn(2, rows, terms, generator=generator)
    b = torch.randn(2, columns, terms, generator=generator).transpose(1, 2)
    with plain_kernels_mode():
        found, flat = torch.bmm(a, b), torch.mm(a[0], b[0])
    torch.testing.assert_close(found, torch.bmm(a, b), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(flat, found[0])


@pytest.mark.parametrize("columns", [1, 4000])
def test_equal_terms_lose_what_adding_them_in_order_loses(columns: int) -> None:
    share = np.float32(1 / 784)
    in_order = np.float32(0)
    for _ in range(784):
        in_order += share
    with plain_kernels_mode():
        found = torch.full((1, 784), float(share)) @ torch.ones(784, columns)
    assert (found - float(in_order)).abs().max() <= np.spacing(in_order)  # the last digit is another draw's


def test_nearly_shut_gates_are_right_to_a_rounding_of_an_open_one() -> None:
    x = torch.linspace(-12, -6, 500)
    with plain_kernels_mode():
        found = torch.sigmoid(x).double()
    truth = torch.sigmoid(x.double())
    assert 2**-24 < (found - truth).abs().max() < 2**-23
    assert ((found - truth) / truth).abs().max() > 1e-4
