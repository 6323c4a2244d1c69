"""The truth is float64 all the way, the floor is float32's own, and the caller's module stays as it was."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import torchvision
from torch import Tensor, nn

from attn2trt.core.tensor_spec import Axis, TensorSpec
from attn2trt.errors import ModuleRefused
from attn2trt.validate import eager
from attn2trt.validate.cases import Case, make_cases
from attn2trt.validate.half_precision import Half
from attn2trt.validate.metrics import Reference
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
    with pytest.raises(ModuleRefused, match="returns 1 tensors, and the outputs of the graph are a, b; expected"):
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


def test_a_probability_stays_one_in_other_last_digits() -> None:
    def loss(x: Tensor) -> Tensor:
        return F.binary_cross_entropy(x.sigmoid(), torch.ones_like(x), reduction="none")

    assert reference(loss, X * 30).floors["output"].is_finite


def test_what_raises_in_other_last_digits_alone_is_said_to() -> None:
    def picky(x: Tensor) -> Tensor:
        if not torch.equal(x.softmax(1), x.softmax(1)):
            raise ValueError("not PyTorch's digits")
        return x

    with pytest.raises(ModuleRefused, match=r"Function raises in case one .*rounded otherwise than by PyTorch"):
        reference(picky, X)


def test_a_lucky_floor_is_raised_by_other_last_digits() -> None:
    lucky = np.full((64, 4), 0.5, np.float32)
    assert reference(lambda x: x.mean(1), lucky).floors["output"].l2 > 0


@pytest.mark.parametrize(("gain", "runs"), [(1.0, 3), (1e6, 8)])
def test_what_amplifies_its_roundings_is_run_more_often(
    gain: float, runs: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran: list[bool] = []
    run = eager.Eager._run

    def counted(self: eager.Eager, *arguments: Any) -> Any:
        ran.append(self.is_double)
        return run(self, *arguments)

    monkeypatch.setattr(eager.Eager, "_run", counted)
    reference(lambda x: (x.mean(1) + gain) - gain, X)
    assert ran.count(False) == runs


def test_float32_overflow_makes_the_floor_infinite() -> None:
    assert not reference(lambda x: torch.exp(x * 100), np.abs(X) + 1).floors["output"].is_finite


def test_a_file_in_float16_is_beside_its_module_in_float32() -> None:
    case = replace(Case.of("one", {"x": X.astype(np.float16)}), narrow={"x": "float16", "output": "float16"})
    (found,) = references(Function(lambda x: torch.sigmoid(x) * 1e5), [case], lower=[Half("fp16")])
    assert found.outputs32["output"].dtype == np.float16
    assert np.isfinite(found.outputs32["output"]).all()  # float32 gives numbers where float16 overflows
    assert found.floors["output"].l2 < 1e-6
    assert not found.lower["fp16"]["output"].is_finite


def test_rows_are_distinguished_from_batch_statistics() -> None:
    cases = make_cases([TensorSpec("x", ("batch", 3))], {"batch": Axis(1, 4, 8)})
    module = Function(lambda x: (torch.tanh(x), x - x.mean(0), x.sum()))
    found = next(references(module, cases, ("own", "mixed", "total")))
    assert found.row_outputs == ("own",)


def test_rows_of_a_fixed_batch_are_distinguished_too() -> None:
    cases = make_cases([TensorSpec("x", (4, 3))], {})
    places = torch.arange(4.0)[:, None]
    module = Function(lambda x: (torch.tanh(x), x - x.mean(0), x + places, x.sum()))
    found = next(references(module, cases, ("own", "mixed", "placed", "total")))
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
    reference(lambda x: x + 0 * torch.rand(1), X)
    assert torch.equal(torch.rand(1), expected)
    assert torch.get_float32_matmul_precision() == "highest"


class Listed(nn.Module):
    """Its convolution is in a plain list."""

    def __init__(self) -> None:
        super().__init__()
        self.convs = [nn.Conv2d(3, 3, 1)]

    def forward(self, x: Tensor) -> Tensor:
        return self.convs[0](x)  # type: ignore[no-any-return]


def test_modules_in_a_plain_list_run_in_float64_too() -> None:
    torch.manual_seed(0)
    module = Listed()
    found = reference(module, X)
    weight = module.convs[0].weight.detach().double().numpy()[:, :, 0, 0]
    bias = module.convs[0].bias
    assert bias is not None
    expected = np.einsum("nchw,dc->ndhw", X.astype(np.float64), weight) + bias.detach().double().numpy()[:, None, None]
    assert np.abs(found.outputs64["output"] - expected).max() < 1e-14
    assert module.convs[0].weight.dtype == torch.float32


def shifted(x: Tensor) -> Tensor:
    y = x.clone()
    y[:, :, 1:] = y[:, :, :-1]
    return y


def swapped(x: Tensor) -> Tensor:
    y = x.clone()
    y[:, :1] = y[:, 1:2]
    y[:] = y
    return y


def test_a_tensor_copied_onto_a_part_of_itself_is_refused_with_the_line() -> None:
    with pytest.raises(ModuleRefused, match=r"test_reference\.py:\d+ `y\[:, :, 1:\] = y\[:, :, :-1\]`.*\.clone\(\)"):
        reference(shifted, X)
    assert np.array_equal(reference(swapped, X).outputs64["output"][:, 0], X[:, 1])


@pytest.mark.parametrize("number", [-1.0, 2.0, np.nan])
def test_a_region_of_an_image_that_is_not_there_is_refused(number: float) -> None:
    def pooled(x: Tensor, boxes: Tensor) -> Tensor:
        return torchvision.ops.roi_align(x, boxes, 2, sampling_ratio=2)

    boxes = np.array([[0, 0, 0, 3, 3], [1.5, 1, 1, 2, 3]], np.float32)
    assert reference(pooled, X, boxes).floors["output"].is_finite
    boxes[1, 0] = number
    with pytest.raises(ModuleRefused, match=r"takes a region of an image that its batch does not have.*as boxes="):
        reference(pooled, X, boxes)
