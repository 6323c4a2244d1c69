"""The mechanism behind every library: values of options, results before a class, attributes behind a block."""

from __future__ import annotations

import copy
import functools

import pytest
import torch
from torch import nn

from attn2trt.core.tensor_spec import TensorSpec
from attn2trt.errors import SizesRefused
from attn2trt.modules.libraries.index import library_of
from attn2trt.modules.libraries.library import LibraryModel, keep_results, keywords_of, parse_value
from attn2trt.modules.libraries.recipe import LibraryModule
from attn2trt.modules.placement import Followed


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(3, 3)

    def forward(self, x):
        return self.inner(x), "a word"


class Named(nn.Module):
    def forward(self, x):
        return {"scores": super().forward(x)[0]}


def test_results_stand_before_the_class_and_paths_stay():
    module = keep_results(Net(), Named)
    assert isinstance(module, Net)
    assert type(module).__name__ == "Net"
    assert list(module.state_dict()) == ["inner.weight", "inner.bias"]
    x = torch.ones(1, 3)
    found = copy.deepcopy(module)(x)
    assert list(found) == ["scores"]
    assert torch.equal(found["scores"], module.inner(x))
    assert isinstance(Net()(x), tuple)  # the class itself is as it was


class Moved(nn.Module):
    """Stands for a model of two frames that refines its answer: a list, the last entry of which counts."""

    def __init__(self, channels=6, step=8):
        super().__init__()
        self.match = nn.Conv2d(channels, 2, 3, padding=1)
        self.step = step

    def forward(self, first, second, updates: int = 3, mask=None, exact: bool | None = None):
        if first.shape[-1] % self.step:
            raise ValueError("a side of another step")
        found = [self.match(torch.cat([first, second], 1))]
        for _ in range(updates):
            found.append(torch.tanh(found[-1]))
        return found


class Valued(Moved):
    """Asks for values, which the meta device has none of."""

    def forward(self, first, second, *, updates: int = 3):
        first.nonzero()
        return super().forward(first, second, updates)


class Last(nn.Module):
    def forward(self, first, second):
        return {"flow": super().forward(first, second, **self.keywords)[-1]}


def moved_model(keywords, variants, create=Moved):
    inputs = dict.fromkeys(("first", "second"), (3, 16, 16))
    return LibraryModel("none", create, inputs, Last, keywords=keywords, variants=variants)


def moved(size, keywords, variants=lambda _: {}):
    model = moved_model(keywords, variants)
    return LibraryModule("none:moved", model), [TensorSpec(name, (2, 3, 16, size)) for name in model.inputs]


def test_a_model_of_several_inputs_and_of_arguments_of_its_own_forward():
    assert keywords_of(Moved().forward) == {"updates", "exact"}
    recipe, inputs = moved(24, {"updates": 1})
    module = recipe.build(inputs, {})
    first, second = (torch.rand(1, 3, 16, 24) for _ in range(2))
    assert torch.equal(module(first, second)["flow"], torch.tanh(module.match(torch.cat([first, second], 1))))
    assert not torch.equal(*recipe._images([(1, 3, 8, 8)] * 2))  # two frames, not one twice


def test_an_option_for_other_sizes_is_advised_if_the_model_takes_them_with_it():
    def variants(sides):
        assert tuple(sides) == (16, 20)
        any_size = functools.partial(moved_model, {}, variants, lambda: Moved(step=4))
        return {"side=16": lambda: recipe.model, "any=true": any_size, "broken=1": functools.partial(moved_model, 1)}

    recipe, inputs = moved(20, {}, variants)
    wanted = (
        r"first=2x3x16x20, second=2x3x16x20 for none:moved.*; expected sizes that its forward takes; its own are "
        r"3x16x16, 3x16x16: give it the option any=true, or change"
    )
    with pytest.raises(SizesRefused, match=wanted):
        recipe.build(inputs, {})


@pytest.mark.parametrize(
    ("create", "advice"),
    [
        (
            functools.partial(Moved, channels=5),
            "its own sizes, 3x16x16, 3x16x16, fail as well: give options that",
        ),
        (Valued, "expected sizes that its forward takes; change --shape"),
    ],
)
def test_own_sizes_that_fail_are_named_as_well(create, advice):
    model = moved_model({}, lambda _: {}, create)
    recipe = LibraryModule("none:moved", model)
    with pytest.raises(SizesRefused, match=advice):
        recipe.build([TensorSpec(name, (2, 3, 16, 20)) for name in model.inputs], {})


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("3", 3),
        ("0.5", 0.5),
        ("true", True),
        ("None", None),
        ("2/3/4", [2, 3, 4]),
        ("gelu", "gelu"),
        ("microsoft/resnet-50", "microsoft/resnet-50"),
        ("__import__('os')", "__import__('os')"),
    ],
)
def test_values_of_options(text, value):
    assert parse_value(text) == value


def test_the_library_of_a_name():
    assert library_of("torchvision:resnet18") == "torchvision"
    assert library_of("torchvision") == ""
    assert library_of("resnet50:features_only=true") == ""


def test_what_a_model_reads_of_its_parts_is_there_behind_a_block():
    base = nn.Conv2d(3, 4, 1)
    base.index = 7
    followed = Followed(base, nn.Identity())
    assert followed.index == 7
    assert followed.out_channels == 4
    assert copy.deepcopy(followed).out_channels == 4
    with pytest.raises(AttributeError):
        _ = followed.no_such_thing
    with pytest.raises(AttributeError):  # a tensor has a path of its own
        _ = followed.weight
