"""Weights that hide errors are named; those of the catalog hide none."""

from __future__ import annotations

import re

import pytest
import torch
from torch import nn

from attn2trt.core.tensor_spec import TensorSpec
from attn2trt.modules.block_index import block_names
from attn2trt.modules.catalog import resolve
from attn2trt.validate.cases import make_cases
from attn2trt.validate.hidden import Hidden, still_inputs
from attn2trt.validate.reference import references


class Gated(nn.Module):
    """A gate and a residual branch with a scale of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = nn.Sequential(nn.Conv2d(4, 4, 1), nn.Sigmoid())
        self.norm = nn.BatchNorm2d(4)
        self.gamma = nn.Parameter(torch.ones(1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.gamma * self.norm(x * self.gate(x))


def findings(module: nn.Module) -> list[str]:
    hidden = Hidden()
    cases = make_cases([TensorSpec("x", (2, 4, 6, 6))], {})
    list(references(module.eval(), cases, hidden=hidden))
    return hidden.findings(module)


def trained() -> Gated:
    module = Gated()
    with torch.no_grad():
        module.norm.running_mean.fill_(0.3)
    return module


def test_weights_that_hide_nothing_are_not_mentioned() -> None:
    assert findings(trained()) == []


def test_a_gate_that_never_moves_is_named_with_its_module() -> None:
    module = trained()
    nn.init.zeros_(module.gate[0].weight)
    nn.init.zeros_(module.gate[0].bias)
    found = findings(module)
    assert found[0].startswith("gate.1: the sigmoid gives 0.5 in every case")
    assert found[1].startswith("gate.0.weight is all zeros")


def test_calls_of_one_gate_that_never_move_are_counted_in_one_line() -> None:
    gate = nn.Sigmoid()
    module = nn.Sequential(nn.Conv2d(4, 4, 1), gate, nn.Threshold(9.0, 0.0), gate, nn.Threshold(9.0, 0.0), gate)
    line = "1: the sigmoid gives 0.5 in every case, so what it is computed from was not checked (2 calls)"
    assert line in findings(module)


class OwnGate(nn.Module):
    """A gate that is a weight, and an activation of one."""

    def __init__(self) -> None:
        super().__init__()
        self.alpha = nn.Parameter(torch.tensor(0.3))
        self.scale = nn.Parameter(torch.tensor([-1.0, 2.0, -1.0, 1.0]).reshape(1, 4, 1, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        positive = self.scale > -5
        return torch.where(positive, x * self.alpha.sigmoid(), x) + self.scale.relu()


def test_a_gate_of_weights_alone_is_checked_like_any_weight() -> None:
    assert findings(OwnGate()) == []


class Gate(nn.Module):
    """A squeeze and its gate."""

    def __init__(self, *shut: int, activation: nn.Module) -> None:
        super().__init__()
        self.reduce, self.act, self.expand = nn.Conv2d(4, 8, 1), activation, nn.Conv2d(8, 4, 1)
        with torch.no_grad():
            self.reduce.bias[list(shut)] = -1e3

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * self.expand(self.act(self.reduce(x.mean((2, 3), keepdim=True)))).sigmoid()


@pytest.mark.parametrize("activation", [nn.ReLU(), nn.ReLU(inplace=True), nn.ReLU6(), nn.Hardswish()])
def test_channels_that_an_activation_shuts_off_in_every_case_are_counted(activation: nn.Module) -> None:
    torch.manual_seed(0)
    (found,) = findings(Gate(0, 3, activation=activation))
    assert re.match(r"act: the \w+ gives one number for 2 of 8 channels in every case", found)
    assert found.endswith("photographs (--inputs FOLDER), may reach it")
    assert findings(Gate(activation=activation)) == []


def test_channels_of_several_activations_are_one_sentence_with_the_worst() -> None:
    torch.manual_seed(0)
    found = findings(nn.Sequential(*(Gate(*shut, activation=nn.ReLU()) for shut in ([0, 1], [2, 3, 4], [5, 6]))))
    assert len(found) == 1
    assert found[0].startswith("1.act: the relu gives one number for 3 of 8 channels")
    assert "(2 more such)" in found[0]


def test_a_gate_that_gives_each_channel_its_own_number_is_named() -> None:
    module = Gate(activation=nn.ReLU())
    with torch.no_grad():
        module.expand.weight[:2] = 0
        module.expand.bias[:2] = torch.tensor([-1.0, 1.0])
    (found,) = findings(module)
    assert found.startswith("the model: the sigmoid gives one number for 2 of 4 channels in every case")


class Thresholded(nn.Module):
    """Boxes where a score is above a threshold."""

    def __init__(self, threshold: float) -> None:
        super().__init__()
        self.threshold = threshold

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        assert not bool(torch.isnan(x).any())
        return torch.where(x.tanh() > self.threshold, x, 0.0)


def test_a_comparison_that_goes_one_way_in_every_case_is_named() -> None:
    (found,) = findings(Thresholded(1.5))
    assert re.match(
        r"the > at .*test_hidden.py:\d+ `return torch.where.*` is False everywhere in every case, so", found
    )
    assert findings(Thresholded(0.5)) == []


def test_a_branch_that_is_multiplied_by_zero_is_named() -> None:
    module = trained()
    nn.init.zeros_(module.gamma)
    assert findings(module) == ["gamma is all zeros: what it multiplies was not checked"]


def test_an_input_of_one_value_is_named() -> None:
    ones = TensorSpec("mask", ("batch", 8), "int64", 1, 1)
    (found,) = still_inputs([TensorSpec("x", (2, 3)), ones, TensorSpec("ids", (2, 3), "int64", 0, 9)])
    assert found.startswith("mask is 1 in every case, the one number of its range: no other was checked; give a range")
    assert found.endswith("as the shape mask=SIZES:int64[0,1]")


def test_normalisations_as_they_were_made_are_counted() -> None:
    assert findings(Gated())[0].startswith("1 of 1 batch normalisations still hold mean 0 and variance 1")


@pytest.mark.parametrize("name", block_names())
def test_the_catalogs_weights_hide_nothing(name: str) -> None:
    target = resolve(name, shapes=["2x64x8x8"])
    module = target.build()
    hidden = Hidden()
    list(references(module, make_cases(target.inputs, target.axes), hidden=hidden))
    assert hidden.reached.ends or name in ("criss_cross", "gam", "lska")
    assert hidden.findings(module) == []


def test_modules_in_a_plain_list_are_named() -> None:
    module = trained()
    module.extra = {"side": [nn.Conv2d(4, 4, 1), nn.Conv2d(4, 4, 1)]}  # type: ignore[assignment]
    assert any(found.startswith("extra keeps 2 modules in a plain list or dict") for found in findings(module))


def test_weights_that_are_not_finite_are_named_and_masks_are_not() -> None:
    module = trained()
    module.register_buffer("mask", torch.full((3,), float("-inf")))
    module.register_buffer("scale", torch.tensor([1.0, float("nan")]))
    with torch.no_grad():
        module.norm.weight[:3] = float("inf")
    found = [sentence for sentence in findings(module) if "not finite" in sentence]
    assert [sentence.split(":")[0] for sentence in found] == [
        "norm.weight has 3 of 4 numbers that are not finite",
        "scale has 1 of 2 numbers that are not finite",
    ]


def test_complex_weights_that_are_not_finite_are_named() -> None:
    module = nn.Linear(2, 2, dtype=torch.cfloat)
    assert not Hidden().findings(module)
    with torch.no_grad():
        module.weight[0, 1] = complex(1, float("nan"))
    assert "weight has 1 of 4 numbers that are not finite" in Hidden().findings(module)[0]


class Branched(nn.Module):
    def __init__(self, above: float) -> None:
        super().__init__()
        self.above = above

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = torch.cond(x.sum() > self.above, lambda x: x.sin(), lambda x: x.cos(), (x,))
        return found


def test_a_side_that_no_case_takes_is_named() -> None:
    found = findings(Branched(above=1e9))
    assert len(found) == 1
    assert re.match(r"torch\.cond at .*test_hidden.py:\d+ .* finds its condition False in every case, so its", found[0])
    assert findings(Branched(above=0.0)) == []
