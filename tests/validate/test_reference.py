"""The truth is float64 all the way, the floor is float32's own, and the caller's module stays as it was."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from attn2trt.errors import ModuleRefused
from attn2trt.modules.target import Axis, TensorSpec
from attn2trt.validate.cases import Case, make_cases
from attn2trt.validate.metrics import Reference
from attn2trt.validate.plain_sums import plain_sums_mode
from attn2trt.validate.reference import references


class Function(nn.Module):
    def __init__(self, function: Any) -> None:
        super().__init__()
        self.function = function

    def forward(self, *inputs: Tensor) -> Any:
        return self.function(*inputs)


def reference(function: Any, *values: np.ndarray, names: tuple[str, ...] = ()) -> Reference:
    feeds = {f"x{index}": value for index, value in enumerate(values)}
    module = function if isinstance(function, nn.Module) else Function(function)
    return next(references(module, [Case.of("one", feeds)], names))


X = np.random.default_rng(0).standard_normal((2, 3, 4, 4)).astype(np.float32)


def test_truth_and_floor_of_a_convolution() -> None:
    torch.manual_seed(0)
    layer = nn.Conv2d(3, 5, 3)
    found = reference(layer, X)
    expected = layer.double()(torch.from_numpy(X).double()).detach().numpy()
    assert found.outputs64["output"].dtype == np.float64
    assert np.array_equal(found.outputs64["output"], expected)
    assert found.outputs32["output"].dtype == np.float32
    assert 1e-9 < found.floors["output"].l2 < 1e-6
    assert found.floors["output"].channel.shape == (5 + 2 + 2,)


def test_the_callers_module_is_untouched() -> None:
    layer = nn.BatchNorm2d(3).train()
    before = {name: value.clone() for name, value in layer.state_dict().items()}
    reference(layer, X)
    assert layer.training
    assert layer.weight.dtype == torch.float32
    assert all(torch.equal(value, before[name]) for name, value in layer.state_dict().items())


def test_a_module_that_casts_to_float32_still_gives_a_float64_truth() -> None:
    found = reference(lambda x: (x.float() / 3).to(torch.float32) + torch.full((), 0.1, dtype=torch.float32), X)
    assert np.allclose(found.outputs64["output"], X.astype(np.float64) / 3 + 0.1, rtol=1e-15)
    assert found.floors["output"].l2 > 0


def test_the_largest_magnitude_is_the_one_inside() -> None:
    found = reference(lambda x: (x * 1e6) * 0.0, X)
    assert found.largest == pytest.approx(1e6 * np.abs(X).max())
    assert not found.outputs64["output"].any()


def test_nested_outputs_are_named_in_flattened_order() -> None:
    found = reference(lambda x: {"a": (x, x + 1), "b": [x.argmax(1)], "c": None}, X, names=("one", "two", "best"))
    assert list(found.outputs64) == ["one", "two", "best"]
    assert found.outputs64["best"].dtype == np.int64
    assert list(reference(lambda x: (x, x), X).outputs64) == ["output_0", "output_1"]


def test_a_wrong_number_of_names_is_refused() -> None:
    with pytest.raises(ModuleRefused, match="returned 1 tensors, expected 2"):
        reference(lambda x: x, X, names=("a", "b"))


def test_a_module_that_cannot_run_a_size_is_refused_with_the_size() -> None:
    axes = {"height": Axis(4, 8, 16)}
    cases = make_cases([TensorSpec("x", (1, 3, "height", 8))], axes)
    with pytest.raises(ModuleRefused, match=r"case size_min \(height=4\).*ranges"):
        list(references(Function(lambda x: x[:, :, 7]), cases))


def test_integers_stay_integers_and_a_close_argmax_is_unsettled() -> None:
    scores = np.array([[1.0, np.nextafter(np.float32(1), np.float32(2))], [1.0, 2.0]], np.float32)
    index = np.array([1, 0])

    def pick(x: Tensor, index: Tensor) -> Tensor:
        assert index.dtype == torch.int64
        return (x * 1.0)[index].argmax(1)

    floor = reference(pick, scores, index).floors["output"]
    assert floor.unsettled is not None
    assert floor.unsettled.tolist() == [False, True]


def test_neighbours_raise_a_lucky_floor() -> None:
    lucky = np.zeros((1, 4), np.float32)
    unlucky = np.full((1, 4), 0.1, np.float32)
    case = Case("one", "", "normal", {}, lambda index: {"x": unlucky if index else lucky}, 1)
    found = next(references(Function(lambda x: x / 3), [case]))
    assert found.floors["output"].l2 > 0


def test_float32_overflow_makes_the_floor_infinite() -> None:
    assert not reference(lambda x: torch.exp(x * 100), np.abs(X) + 1).floors["output"].is_finite


def test_rows_are_told_apart_from_batch_statistics() -> None:
    cases = make_cases([TensorSpec("x", ("batch", 3))], {"batch": Axis(1, 4, 8)})
    module = Function(lambda x: (torch.tanh(x), x - x.mean(0), x.sum()))
    found = next(references(module, cases, ("own", "mixed", "total")))
    assert found.row_outputs == ("own",)


def test_a_module_that_cannot_be_copied_is_refused() -> None:
    class Stubborn(nn.Module):
        def __deepcopy__(self, memo: object) -> None:
            raise RuntimeError("no copies")

    with pytest.raises(ModuleRefused, match="Stubborn cannot be copied"):
        reference(Stubborn(), X)


def test_the_callers_random_state_and_precision_stay() -> None:
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    reference(lambda x: x + torch.rand(1), X)
    assert torch.equal(torch.rand(1), expected)
    assert torch.get_float32_matmul_precision() == "highest"


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
    reference = next(references(Mean(dims, keepdim), [neighbourly(x)]))
    assert reference.floors["output"].max < 1e-5


def test_the_floor_is_that_of_a_plain_loop_where_pytorch_sums_more_carefully() -> None:
    """Over a large image whose mean is not zero a runtime's loop loses several times what PyTorch's cascade loses."""
    x = (4 + 0.1 * np.random.default_rng(0).standard_normal((2, 8, 160, 160))).astype(np.float32)
    careful = next(references(Mean((2, 3)), [Case.of("alone", {"x": x})])).floors["output"]
    plain = next(references(Mean((2, 3)), [neighbourly(x)])).floors["output"]
    assert plain.l2 > 2 * careful.l2
    loop = np.zeros((2, 8, 8), np.float32)
    for start in range(0, 160 * 160, 8):
        loop += x.reshape(2, 8, -1)[..., start : start + 8]
    mean = x.astype(np.float64).mean((2, 3))
    assert np.abs(loop.sum(-1) / np.float32(160 * 160) / mean - 1).max() < 4 * plain.max


def neighbourly(x: np.ndarray) -> Case:
    return Case("near", "", "normal", {}, lambda index: {"x": x * np.float32(1 + index * 1e-3)}, 2)


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
        with plain_sums_mode():
            found = norm(x)
    assert found.shape == expected.shape
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("module", [nn.Linear(19, 5), nn.Linear(19, 5, bias=False), nn.Softmax(1)], ids=str)
def test_plain_sums_are_the_same_products_and_softmaxes(module: nn.Module) -> None:
    x = torch.randn(7, 19, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected, scores = module(x), torch.bmm(x.reshape(1, 7, 19), x.reshape(1, 7, 19).transpose(1, 2))
        with plain_sums_mode():
            found, added = module(x), torch.bmm(x.reshape(1, 7, 19), x.reshape(1, 7, 19).transpose(1, 2))
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(added, scores)
