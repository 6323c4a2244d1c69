"""A transposed convolution to another tensor's size: computed at the longest output padding, then cut.

``output_size=other.size()`` makes the output padding depend on sizes, and ONNX keeps it as an attribute
(onnx/onnx#1772). A smaller output padding leaves out the end of the longer result.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from .calls import Arguments, is_symbolic, sizes_of


def _transposed(spatial: int, call: Arguments) -> Tensor | None:
    wanted = call.get("output_padding", 0)
    if not is_symbolic(wanted):
        return None
    steps, dilated = sizes_of(call.get("stride", 1), spatial), sizes_of(call.get("dilation", 1), spatial)
    longest = [max(step, d) - 1 for step, d in zip(steps, dilated, strict=True)]
    function = (torch.conv_transpose1d, torch.conv_transpose2d, torch.conv_transpose3d)[spatial - 1]
    result: Tensor = function(**(call | {"output_padding": longest}))
    for dim, most, padding in zip(range(-spatial, 0), longest, sizes_of(wanted, spatial), strict=True):
        result = result.narrow(dim, 0, result.shape[dim] - most + padding)
    return result


_NAMES = ("input", "weight", "bias", "stride", "padding", "output_padding", "groups", "dilation")
REWRITES: dict[Any, Any] = {
    torch.conv_transpose1d: (_NAMES, lambda call: _transposed(1, call)),
    torch.conv_transpose2d: (_NAMES, lambda call: _transposed(2, call)),
    torch.conv_transpose3d: (_NAMES, lambda call: _transposed(3, call)),
}
