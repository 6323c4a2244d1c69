"""The modules whose outputs a graph of somebody else's holds: named only if their own numbers are in it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from foreign_files import convolution, saved
from onnx_modules import Net

from attn2trt.validate.arrays import Array
from attn2trt.validate.boundaries import ort_opener
from attn2trt.validate.cases import Case
from attn2trt.validate.localize.held import held_modules


def held(module: Net, image: Array, folder: Path) -> str:
    case = Case("traced", "", "normal", {"batch": 2}, lambda: {"x": image})
    return held_modules(module, saved(convolution(), folder / "model.onnx"), ort_opener(optimise=False), case)


@pytest.mark.parametrize(
    ("shift", "words"),
    [
        (0.0, "the last module whose output it holds is conv (Conv2d), as c"),
        (1e-4, "it holds no output of conv (Conv2d)"),
        (1.0, "it holds no output of conv (Conv2d)"),
    ],
)
def test_a_module_is_held_if_its_numbers_are_in_the_graph(shift: float, words: str, tmp_path: Path) -> None:
    module = Net()
    module.conv.bias.data += shift
    image = np.random.default_rng(0).normal(size=(2, 3, 8, 8)).astype(np.float32)
    assert held(module, image, tmp_path) == words


def test_an_output_that_is_one_number_proves_nothing(tmp_path: Path) -> None:
    module = Net()
    for one in module.parameters():
        one.data.zero_()
    assert held(module, np.ones((2, 3, 8, 8), np.float32), tmp_path) == ""
