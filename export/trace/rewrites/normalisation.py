"""``layer_norm`` over dynamic sizes, spelt out.

Exported as LayerNormalization it needs a scale of the normalised shape, made at run time; TensorRT 8.6 finds no kernel
for some computed shapes (NVIDIA/TensorRT#3490), and ONNX Runtime's loses digits if one channel is far from the rest.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor
from torch.nn import functional as F

from .calls import Arguments, is_symbolic


def _layer_norm(call: Arguments) -> Tensor | None:
    x, shape = call["input"], list(call["normalized_shape"])
    # A weight has the normalised shape, which it then fixes.
    if not is_symbolic(shape) or call.get("weight") is not None or call.get("bias") is not None:
        return None
    dims = tuple(range(-len(shape), 0))
    centred: Tensor = x - x.mean(dims, keepdim=True)
    variance = (centred * centred).mean(dims, keepdim=True)
    found: Tensor = centred / (variance + call.get("eps", 1e-5)).sqrt()
    return found


REWRITES: dict[Any, Any] = {F.layer_norm: (("input", "normalized_shape", "weight", "bias", "eps"), _layer_norm)}
