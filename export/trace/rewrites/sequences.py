"""``arange`` that counts down to a dynamic size, as a difference.

ONNX Runtime makes a slice of a gather whose index is a range, and takes the end -1 of a descending one for the last
element: the slice is empty (the fusion of microsoft/onnxruntime#13599).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from .calls import Arguments, is_symbolic


def _descending(call: Arguments) -> Tensor | None:
    step = call.get("step", 1)
    if is_symbolic(step) or not isinstance(step, int) or step >= 0:
        return None
    start, end = call["start"], call["end"]
    if not is_symbolic([start, end]) or isinstance(start, torch.SymFloat) or isinstance(end, torch.SymFloat):
        return None
    count = (start - end - step - 1) // -step
    place = torch.arange(count, dtype=call.get("dtype") or torch.int64, device=call.get("device"))
    found: Tensor = start - place * -step
    return found


REWRITES: dict[Any, Any] = {torch.arange: (("start", "end", "step"), _descending)}
