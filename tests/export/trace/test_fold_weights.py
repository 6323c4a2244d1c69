"""Weights that a module computes from parameters alone are constants, whatever computes them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations, parametrize

from attn2trt.errors import ModuleRefused
from attn2trt.export.trace.exporter import trace
from attn2trt.modules.own_module import from_module


class Scale(nn.Module):
    """A factor for each channel."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([0.5, -1.0, 2.0, 3.0]))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.weight


class Rotation(nn.Module):
    """A product with the exponential of an antisymmetric matrix, computed in forward."""

    def __init__(self, *, from_input: bool = False) -> None:
        super().__init__()
        self.angles = nn.Parameter(torch.randn(4, 4))
        self.mix = nn.Linear(4, 4)
        self.from_input = from_input

    def forward(self, x: Tensor) -> Tensor:
        angles = x.T @ x if self.from_input else self.angles - self.angles.T
        return self.mix(x @ torch.matrix_exp(angles) @ torch.linalg.inv(torch.eye(4) + self.angles.abs()))


class Both(nn.Module):
    """A product with a computed weight, and with another that is computed from that one."""

    def __init__(self) -> None:
        super().__init__()
        self.angles = nn.Parameter(torch.randn(4, 4))

    def forward(self, x: Tensor) -> Tensor:
        turned = torch.matrix_exp(self.angles)
        return x @ turned + x @ torch.linalg.inv(turned + torch.eye(4))


class Inverse(nn.Module):
    def forward(self, weight: Tensor) -> Tensor:
        return torch.linalg.svd(weight)[0]


def old_weight_norm() -> nn.Module:
    return torch.nn.utils.weight_norm(nn.Linear(4, 4))


def custom() -> nn.Module:
    layer = nn.Linear(4, 4)
    parametrize.register_parametrization(layer, "weight", Inverse())
    return layer


MODULES: dict[str, Callable[[], nn.Module]] = {
    "weight_norm of a vector": lambda: parametrizations.weight_norm(Scale(), dim=0),
    "weight_norm": lambda: parametrizations.weight_norm(nn.Linear(4, 4)),
    "weight_norm by hooks": old_weight_norm,
    "spectral_norm": lambda: parametrizations.spectral_norm(nn.Linear(4, 4)),
    "spectral_norm by hooks": lambda: torch.nn.utils.spectral_norm(nn.Linear(4, 4)),
    "orthogonal": lambda: parametrizations.orthogonal(nn.Linear(4, 4)),
    "orthogonal by reflections": lambda: parametrizations.orthogonal(nn.Linear(4, 4), orthogonal_map="householder"),
    "a parametrization of one's own": custom,
    "computed in forward": Rotation,
    "one from another": Both,
    "two layers": lambda: nn.Sequential(*(parametrizations.orthogonal(nn.Linear(4, 4)) for _ in range(2))),
}


@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.parametrize("kind", MODULES)
def test_computed_weights_are_right_and_the_callers_stay(kind: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    module = MODULES[kind]().eval()
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    target = from_module(module, torch.randn(2, 4), dynamic="batch=1:2:4")
    graph = trace(target, module, tmp_path / "m.onnx", opset=17)
    x = torch.randn(3, 4)
    (found,) = onnxruntime.InferenceSession(graph.path, providers=["CPUExecutionProvider"]).run(
        None, {graph.inputs[0].name: x.numpy()}
    )
    np.testing.assert_allclose(found, module(x).detach().numpy(), rtol=1e-5, atol=1e-6)
    after = module.state_dict()
    assert list(after) == list(before)
    assert all(torch.equal(after[name], before[name]) for name in before)


def test_what_depends_on_an_input_is_still_refused(tmp_path: Path) -> None:
    module = Rotation(from_input=True).eval()
    target = from_module(module, torch.randn(2, 4))
    with pytest.raises(ModuleRefused, match=r"linalg_matrix_exp at .*test_fold_weights\.py:\d+ `return self\.mix"):
        trace(target, module, tmp_path / "m.onnx", opset=17)
