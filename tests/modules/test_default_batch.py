"""When the default batch applies, its range, and the fixed batches that stand behind it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
import torch
from torch import nn

from attn2trt.core.tensor_spec import Axis
from attn2trt.modules.catalog import resolve
from attn2trt.modules.default_batch import plans
from attn2trt.modules.dynamic import parse_dynamic
from attn2trt.modules.own_module import from_module
from attn2trt.modules.shapes import Shape

IMAGE = Shape("image", (2, 3, 32, 48))


@pytest.mark.parametrize(
    ("traced", "axis"), [(1, Axis(1, 2, 8)), (2, Axis(1, 2, 8)), (5, Axis(1, 5, 8)), (32, Axis(1, 32, 32))]
)
def test_the_default_range_holds_the_traced_batch(traced: int, axis: Axis) -> None:
    (inputs, axes), (fixed, none) = plans([Shape("x", (traced, 3, 8, 8))], None, fixed=True)
    assert (inputs[0].shape, axes) == (("batch", 3, 8, 8), {"batch": axis})
    assert (fixed[0].shape, none) == ((traced, 3, 8, 8), {})


def test_without_a_shape_the_fixed_batch_is_one() -> None:
    found = plans([IMAGE], "height=16:64:64", fixed=False)
    assert [inputs[0].resolve({"batch": 2, "height": 64}) for inputs, _ in found] == [
        (2, 3, 64, 48),
        (1, 3, 64, 48),
        (2, 3, 64, 48),
    ]
    assert [list(axes) for _, axes in found] == [["batch", "height"], ["height"], ["height"]]


@pytest.mark.parametrize(
    ("dynamic", "axes"),
    [
        ("none", {}),
        ({"batch": "none"}, {}),
        ("batch=none,height=16:32:64", {"height": Axis(16, 32, 64)}),
        ("batch=1:2:4", {"batch": Axis(1, 2, 4)}),
        ("batch=2:2:2", {}),
        ({"batch": None}, {"batch": Axis(1, 2, 16)}),
        ("dim0=1:2:3", {"dim0": Axis(1, 2, 3)}),
    ],
)
def test_who_names_the_batch_gets_no_default(dynamic: str | Mapping[str, Any], axes: Mapping[str, Axis]) -> None:
    ((_, found),) = plans([IMAGE], dynamic, fixed=True)
    assert found == axes


def test_a_batch_under_the_name_of_one_input_is_named() -> None:
    ((_, found),) = plans([IMAGE, Shape("mask", (2, 1, 32, 48))], "mask.batch=1:2:3", fixed=True)
    assert list(found) == ["mask.batch"]


def test_inputs_of_another_first_size_keep_it() -> None:
    inputs, axes = plans([IMAGE, Shape("scale", (7,))], None, fixed=True)[0]
    assert ([spec.shape for spec in inputs], list(axes)) == ([("batch", 3, 32, 48), (7,)], ["batch"])


def test_none_is_no_axis() -> None:
    assert parse_dynamic("none") == {}
    assert parse_dynamic("height=none,batch") == {"batch": None}
    assert parse_dynamic({"height": "none", "width": None}) == {"width": None}


def test_a_target_has_the_default_only_if_asked() -> None:
    assert resolve("se").axes == {}
    target = resolve("se", any_batch=True)
    assert target.axes == {"batch": Axis(1, 2, 8)}
    assert [fallback.inputs[0].shape[0] for fallback in target.fallbacks] == [1, 2]
    assert len({target.fingerprint, *(fallback.fingerprint for fallback in target.fallbacks)}) == 3
    own = from_module(nn.Conv2d(3, 4, 1), torch.zeros(3, 3, 8, 8), any_batch=True)
    assert own.axes == {"batch": Axis(1, 3, 8)}
    assert [fallback.inputs[0].shape for fallback in own.fallbacks] == [(3, 3, 8, 8)]
