"""Weights in few bits that no weight of the module is rounded to are named, and all others are not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
import torch
from foreign_files import model, saved
from onnx import helper
from quantised_gate import Gate, quantised
from torch import nn

from attn2trt import check_model
from attn2trt.validate.foreign_weights import foreign_weights

NAMED = "1 of 2 weights in few bits are further than half a step from every weight of the module: first_w;"


class Folded(nn.Module):
    """A convolution and its normalisation, and a product, whose weights a file may have in other forms."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.norm, self.linear = nn.Conv2d(4, 6, 3, bias=False), nn.BatchNorm2d(6), nn.Linear(6, 5)
        nn.utils.parametrizations.weight_norm(self.linear)
        nn.init.uniform_(self.norm.weight, 0.5, 2)
        nn.init.uniform_(self.norm.running_var, 0.5, 2)  # type: ignore[arg-type]

    @property
    def weight(self) -> np.ndarray:
        factor = (self.norm.weight / (self.norm.running_var + self.norm.eps).sqrt()).view(-1, 1, 1, 1)  # type: ignore[operator]
        return (self.conv.weight * factor).detach().numpy()


def named(folder: Path, weight: np.ndarray, scale: np.ndarray, kind: Any = np.int8, *, by_node: bool = False) -> bool:
    """Return True if a weight of these numbers, quantised by a scale for each of its first axis, is named."""
    wide = scale.reshape(-1, *[1] * (weight.ndim - 1)).astype(np.float64)
    zero, given = np.zeros(scale.shape, kind), ["w", "s", "z"]
    stored = {"s": scale, "z": zero}
    nodes = [helper.make_node("DequantizeLinear", given, ["f"], axis=0)]
    if by_node:
        stored["w"] = weight.astype(scale.dtype)
        nodes = [
            helper.make_node("QuantizeLinear", given, ["q"], axis=0),
            helper.make_node("DequantizeLinear", ["q", "s", "z"], ["f"], axis=0),
        ]
    else:
        levels = weight / wide
        stored["w"] = (np.clip(np.round(levels), -127, 127) if kind == np.int8 else levels).astype(kind)
    file = model([*nodes, helper.make_node("Identity", ["x"], ["y"])], stored)
    return bool(foreign_weights(saved(file, folder / "model.onnx"), Folded()))


def scales(weight: np.ndarray, levels: float = 127, dtype: Any = np.float32) -> np.ndarray:
    found: np.ndarray = (np.abs(weight).reshape(len(weight), -1).max(1) / levels).astype(dtype)
    return found


@pytest.mark.parametrize("by_node", [False, True])
def test_what_a_weight_is_rounded_to_is_not_named(by_node: bool, tmp_path: Path) -> None:
    module = Folded()
    for weight in (module.conv.weight, module.weight, module.linear.weight, module.linear.weight.T):
        value = torch.as_tensor(weight).detach().numpy()
        assert not named(tmp_path, value, scales(value), by_node=by_node)
        assert not named(tmp_path, value, scales(value) / 3, by_node=by_node)  # a part is cut off
        assert not named(tmp_path, value, scales(value, dtype=np.float16), by_node=by_node)
        assert named(tmp_path, value * np.float32(1.02), scales(value) * 1.02, by_node=by_node)
        assert named(tmp_path, np.roll(value, 1, axis=0), scales(np.roll(value, 1, axis=0)), by_node=by_node)


def test_floats_of_8_bits_are_compared_by_their_own_digits(tmp_path: Path) -> None:
    value = Folded().linear.weight.detach().numpy()
    assert not named(tmp_path, value, scales(value, 448), ml_dtypes.float8_e4m3fn)
    assert named(tmp_path, value * np.float32(1.1), scales(value, 448), ml_dtypes.float8_e4m3fn)


def test_a_weight_of_no_size_of_the_module_tells_nothing(tmp_path: Path) -> None:
    value = np.random.default_rng(0).standard_normal((7, 3)).astype(np.float32)
    assert not named(tmp_path, value, scales(value))
    assert not named(tmp_path, value[:4], scales(value), by_node=True)  # a scale of another size, which does not run


def test_a_scale_that_the_outputs_do_not_show_is_a_note(tmp_path: Path) -> None:
    module = Gate().eval()
    for factor, notes in ((1.0, 0), (1.01, 1)):
        path = saved(quantised(module, factor=factor), tmp_path / f"{factor}.onnx")
        found = check_model(path, against=module, capabilities="none")
        assert found.passed, found.verdict
        assert len([line for line in found.notes if line.startswith(NAMED)]) == notes, found.notes
