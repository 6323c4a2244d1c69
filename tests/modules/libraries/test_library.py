"""The mechanism behind every library: values of options, results before a class, attributes behind a block."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from attn2trt.modules.libraries.index import library_of
from attn2trt.modules.libraries.library import keep_results, parse_value
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
