"""``fold`` as a transposed convolution with one-hot kernels.

It is exported as Col2Im, which first appeared in opset 18 and which no TensorRT reads (onnx/onnx-tensorrt#934,
NVIDIA/TensorRT#3731). A transposed convolution decides the place of a patch's element; overlaps are summed.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from .calls import Arguments, sizes_of


def fold(x: Tensor, output_size: Any, kernel_size: Any, dilation: Any, padding: Any, stride: Any) -> Tensor:
    """``F.fold`` of a batch: (n, c * kh * kw, positions) -> (n, c, *output_size)."""
    out, kernel = sizes_of(output_size, 2), sizes_of(kernel_size, 2)
    dilated, pads, steps = sizes_of(dilation, 2), sizes_of(padding, 2), sizes_of(stride, 2)
    spans = [d * (k - 1) + 1 for d, k in zip(dilated, kernel, strict=True)]
    counts = [(o + 2 * p - span) // s + 1 for o, p, span, s in zip(out, pads, spans, steps, strict=True)]
    positions = kernel[0] * kernel[1]
    channels = x.shape[1] // positions
    one_hot = torch.eye(positions, dtype=x.dtype, device=x.device).view(positions, 1, *kernel)
    patches = x.reshape(x.shape[0], channels * positions, *counts)
    canvas = F.conv_transpose2d(
        patches, one_hot.repeat(channels, 1, 1, 1), stride=steps, dilation=dilated, groups=channels
    )
    covered = [(count - 1) * s + span for count, s, span in zip(counts, steps, spans, strict=True)]
    rest = [o + 2 * p - c for o, p, c in zip(out, pads, covered, strict=True)]
    canvas = F.pad(canvas, (0, rest[1], 0, rest[0]))
    return canvas[:, :, pads[0] : pads[0] + out[0], pads[1] : pads[1] + out[1]]


def _fold(call: Arguments) -> Tensor | None:
    x = call["input"]
    if x.dim() != 3:
        return None
    options = (call.get("dilation", 1), call.get("padding", 0), call.get("stride", 1))
    return fold(x, call["output_size"], call["kernel_size"], *options)


REWRITES: dict[Any, Any] = {
    F.fold: (("input", "output_size", "kernel_size", "dilation", "padding", "stride"), _fold),
}
