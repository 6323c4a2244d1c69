"""A convolution whose number of groups is a dynamic size, as a product of unfolded patches with the kernels.

One kernel per image is written in PyTorch as a convolution with as many groups as images. ONNX keeps the number of
groups as an attribute, so it would be the traced batch's (onnx/onnx#3889, #3843).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from .calls import Arguments, is_symbolic, sizes_of


def _grouped(call: Arguments) -> Tensor | None:
    groups = call.get("groups", 1)
    padding = call.get("padding", 0)
    if not is_symbolic(groups) or isinstance(padding, str):
        return None
    x, weight, bias = call["input"], call["weight"], call.get("bias")
    n, _, *sizes = x.shape
    inputs, *kernel = weight.shape[1:]
    outputs = weight.shape[0] // groups
    steps, pads = sizes_of(call.get("stride", 1), 2), sizes_of(padding, 2)
    dilated = sizes_of(call.get("dilation", 1), 2)
    out = [
        (size + 2 * p - d * (k - 1) - 1) // s + 1
        for size, p, d, k, s in zip(sizes, pads, dilated, kernel, steps, strict=True)
    ]
    patches = F.unfold(x.reshape(n * groups, inputs, *sizes), tuple(kernel), tuple(dilated), tuple(pads), tuple(steps))
    patches = patches.view(n, groups, inputs * kernel[0] * kernel[1], out[0] * out[1])
    result: Tensor = weight.reshape(1, groups, outputs, inputs * kernel[0] * kernel[1]) @ patches
    result = result.reshape(n, groups * outputs, *out)
    return result if bias is None else result + bias.view(1, -1, 1, 1)


REWRITES: dict[Any, Any] = {
    torch.conv2d: (("input", "weight", "bias", "stride", "padding", "dilation", "groups"), _grouped)
}
