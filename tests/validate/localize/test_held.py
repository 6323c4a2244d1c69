"""The modules whose outputs a graph of somebody else's holds: named only if their own numbers are in it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from foreign_files import convolution, saved
from onnx_modules import Net
from torch import nn

from attn2trt.validate.arrays import Array
from attn2trt.validate.boundaries import ort_opener
from attn2trt.validate.cases import Case
from attn2trt.validate.localize.dependence import modules_read
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


class TwoLevels(nn.Module):
    """Two branches, as of a detector; the second returns first, and its convolution is merged in a graph."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.wrong, self.plain, self.scale = (nn.Conv2d(3, 4, 1) for _ in range(3))
        self.norm, self.last = nn.BatchNorm2d(4), nn.Conv2d(4, 4, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        first = self.wrong(x).relu()
        second = torch.zeros(first.shape)
        second[:] = self.norm(self.plain(x)).sigmoid()
        return self.last(second) + self.scale(x) * first


@pytest.mark.filterwarnings("ignore")
def test_a_branch_that_is_right_and_returns_later_hides_no_module_that_is_wrong(tmp_path: Path) -> None:
    module, image = TwoLevels().eval(), torch.randn(2, 3, 6, 5, generator=torch.Generator().manual_seed(1))
    axes = {"input_names": ["x"], "output_names": ["y"], "dynamo": False}
    torch.onnx.export(module, (image,), str(tmp_path / "model.onnx"), **axes)
    module.wrong.bias.data += 1
    case = Case("traced", "", "normal", {"batch": 2}, lambda: {"x": image.numpy()})
    found = held_modules(module, tmp_path / "model.onnx", ort_opener(optimise=False), case)
    assert found == "it holds no output of wrong (Conv2d)"


def test_what_a_module_reads_is_found_through_functions_and_through_what_is_changed_in_place() -> None:
    feeds = {"x": np.ones((2, 3, 6, 5), np.float32)}
    read = modules_read(TwoLevels(), feeds, Case("traced", "", "normal", {"batch": 2}, lambda: feeds))
    assert read["last"] == {"plain", "norm"}
    assert read["norm"] == {"plain"}
    assert read["scale"] == set()
