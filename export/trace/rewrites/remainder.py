"""The remainder of a tensor by a size, spelt out: the exporter's translation takes only a number there.

No thread tells of it; ``aten.remainder.Scalar`` with a symbolic divisor fails in torch 2.15 with onnxscript 0.5 to 0.7.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from .calls import Arguments, is_symbolic


def _remainder(call: Arguments) -> Tensor | None:
    x, divisor = call["input"], call["other"]
    if not isinstance(x, Tensor) or not is_symbolic(divisor):
        return None
    rest: Tensor = x - torch.div(x, divisor, rounding_mode="floor") * divisor
    return rest


_NAMES = ("input", "other")
REWRITES: dict[Any, Any] = dict.fromkeys((torch.remainder, Tensor.remainder, Tensor.__mod__), (_NAMES, _remainder))
