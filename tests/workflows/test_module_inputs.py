"""Runtimes take and give values by name: a file whose names are the module's in another order is matched by them."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from attn2trt.core.tensor_spec import TensorSpec
from attn2trt.validate.cases import Case
from attn2trt.workflows.module_inputs import inputs_in_order, outputs_in_order


class Named(torch.nn.Module):
    def forward(self, left: torch.Tensor, right: torch.Tensor, scale: float = 1.0) -> dict[str, torch.Tensor]:
        return {"total": left + right * scale, "apart": left - right}


class Unnamed(torch.nn.Module):
    def forward(self, *images: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return images


def specs(*names: str) -> list[TensorSpec]:
    return [TensorSpec(name, (2,), "float32") for name in names]


CASE = Case.of("zeros", {"left": np.zeros(2, np.float32), "right": np.ones(2, np.float32)})


@pytest.mark.parametrize(
    ("names", "order"),
    [
        (("right", "left"), ("left", "right")),
        (("left", "right"), ("left", "right")),
        (("b", "a"), ("b", "a")),
        (("right", "a"), ("right", "a")),
        (("right",), ("right",)),
    ],
)
def test_inputs(names: tuple[str, ...], order: tuple[str, ...]) -> None:
    assert tuple(spec.name for spec in inputs_in_order(Named(), specs(*names))) == order


@pytest.mark.parametrize(
    ("module", "names", "order"),
    [
        (Named(), ("apart", "total"), ("total", "apart")),
        (Named(), ("y", "total"), ("y", "total")),
        (Named(), ("total", "apart", "more"), ("total", "apart", "more")),
        (Unnamed(), ("output_1", "output_0"), ("output_0", "output_1")),
        (Unnamed(), ("right", "left"), ("right", "left")),
    ],
)
def test_outputs(module: torch.nn.Module, names: tuple[str, ...], order: tuple[str, ...]) -> None:
    assert tuple(spec.name for spec in outputs_in_order(module, specs(*names), CASE, 0)) == order


def test_arguments_without_names_are_matched_by_order() -> None:
    assert [spec.name for spec in inputs_in_order(Unnamed(), specs("right", "left"))] == ["right", "left"]
