"""BN-Inception: two stacked 3x3 convolutions in place of each 5x5, and batch normalisation everywhere.

Ioffe and Szegedy, ICML 2015, https://arxiv.org/abs/1502.03167, figure 5. Parameter names, the widths and the biases
before the normalisations follow the PyTorch port of the Caffe release (Cadene/pretrained-models.pytorch), whose
weights take an image in the order BGR.
Differs: the last pooling is a mean over whatever is left of the image, which is the port's at 224x224; and the
pooling beside the strided convolutions sees the last row and column repeated, which changes nothing at an even size
and gives as many positions as the convolutions do at an odd one, at which the port fails.
"""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import Tensor, nn
from torch.nn import functional

# 1x1; reduce, 3x3; reduce, double 3x3; projection after the pooling: output channels, 0 for no such branch
WIDTHS: dict[str, tuple[int, int, int, int, int, int]] = {
    "3a": (64, 64, 64, 64, 96, 32),
    "3b": (64, 64, 96, 64, 96, 64),
    "3c": (0, 128, 160, 64, 96, 0),
    "4a": (224, 64, 96, 96, 128, 128),
    "4b": (192, 96, 128, 96, 128, 128),
    "4c": (160, 128, 160, 128, 160, 128),
    "4d": (96, 128, 192, 160, 192, 128),
    "4e": (0, 128, 192, 192, 256, 0),
    "5a": (352, 192, 320, 160, 224, 128),
    "5b": (352, 192, 320, 192, 224, 128),
}


class BNInception(nn.Module):
    """A classifier of 1000 classes; ``inception_NX_output``, an identity, follows each concatenation."""

    def __init__(self) -> None:
        super().__init__()
        self._add("conv1_7x7_s2", 3, 64, kernel=7, stride=2)
        self._add("conv2_3x3_reduce", 64, 64)
        self._add("conv2_3x3", 64, 192, kernel=3)
        self.widths: dict[str, int] = OrderedDict()  # of each concatenation, by the name of its place
        channels = 192
        for unit, (one, reduce, three, double_reduce, double, projected) in WIDTHS.items():
            name, stride = f"inception_{unit}", 1 if one else 2
            if one:
                self._add(f"{name}_1x1", channels, one)
            self._add(f"{name}_3x3_reduce", channels, reduce)
            self._add(f"{name}_3x3", reduce, three, kernel=3, stride=stride)
            self._add(f"{name}_double_3x3_reduce", channels, double_reduce)
            self._add(f"{name}_double_3x3_1", double_reduce, double, kernel=3)
            self._add(f"{name}_double_3x3_2", double, double, kernel=3, stride=stride)
            if projected:
                self._add(f"{name}_pool_proj", channels, projected)
            channels = one + three + double + (projected or channels)
            self.add_module(f"{name}_output", nn.Identity())
            self.widths[f"{name}_output"] = channels
        self.last_linear = nn.Linear(channels, 1000)

    def _add(self, name: str, given: int, made: int, *, kernel: int = 1, stride: int = 1) -> None:
        self.add_module(name, nn.Conv2d(given, made, kernel, stride, kernel // 2))
        self.add_module(f"{name}_bn", nn.BatchNorm2d(made))

    def forward(self, x: Tensor) -> Tensor:
        """``(n, 3, h, w)`` to ``(n, 1000)``."""
        x = _halve(self._conv("conv1_7x7_s2", x))
        x = _halve(self._conv("conv2_3x3", self._conv("conv2_3x3_reduce", x)))
        for unit in WIDTHS:
            x = self.get_submodule(f"inception_{unit}_output")(self._branches(unit, x))
        logits: Tensor = self.last_linear(x.mean((2, 3)))
        return logits

    def _branches(self, unit: str, x: Tensor) -> Tensor:
        name, (one, *_, projected) = f"inception_{unit}", WIDTHS[unit]
        double = self._conv(f"{name}_double_3x3_1", self._conv(f"{name}_double_3x3_reduce", x))
        branches = [
            self._conv(f"{name}_3x3", self._conv(f"{name}_3x3_reduce", x)),
            self._conv(f"{name}_double_3x3_2", double),
        ]
        if one:
            branches.insert(0, self._conv(f"{name}_1x1", x))
        if not projected:
            branches.append(functional.max_pool2d(functional.pad(x, (0, 2, 0, 2), mode="replicate"), 3, 2))
        elif unit == "5b":  # the last one alone pools by the maximum
            branches.append(self._conv(f"{name}_pool_proj", functional.max_pool2d(x, 3, 1, 1)))
        else:
            branches.append(self._conv(f"{name}_pool_proj", functional.avg_pool2d(x, 3, 1, 1)))
        return torch.cat(branches, 1)

    def _conv(self, name: str, x: Tensor) -> Tensor:
        return torch.relu(self.get_submodule(f"{name}_bn")(self.get_submodule(name)(x)))


def _halve(x: Tensor) -> Tensor:
    """Maximum of 3x3 at every second position, the last window reaching over the edge, as Caffe rounds."""
    return functional.max_pool2d(x, 3, 2, ceil_mode=True)


def create(name: str) -> nn.Module:
    """The one network of this file, whatever the name."""
    del name
    return BNInception()
