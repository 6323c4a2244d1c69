"""PyTorch answers by name like every other runtime."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from attn2trt.engines.torch_runtime import TorchRuntime
from attn2trt.errors import InputError

X = np.ones((2, 3), np.float32)


class Two(nn.Module):
    def forward(self, x: Tensor, y: Tensor) -> dict[str, Tensor]:
        return {"sum": x + y, "less": x < y}


def test_outputs_are_named_in_flattened_order() -> None:
    with TorchRuntime(Two(), ("sum", "less")) as runtime:
        outputs = runtime.run({"x": X, "y": 2 * X})
    assert np.array_equal(outputs["sum"], 3 * X)
    assert outputs["less"].dtype == np.bool_
    assert torch.__version__ in runtime.name


def test_one_output_needs_no_name() -> None:
    assert list(TorchRuntime(nn.Linear(3, 4)).run({"x": X})) == ["output"]


def test_a_wrong_number_of_names_is_an_error() -> None:
    with pytest.raises(InputError, match="returned 2 tensors; expected 1"):
        TorchRuntime(Two(), ("sum",)).run({"x": X, "y": X})
