"""Cross entropy with smoothed labels or class probabilities, as logarithms and products.

torch.onnx (PyTorch 2.14) leaves the smoothing out in silence, and writes probabilities as labels, which no runtime
takes.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn._reduction import legacy_get_string

from .calls import Arguments


def _smoothed(call: Arguments) -> Tensor | None:
    """Return ``(1 - s)`` of the loss and ``s`` of its mean over all classes, each class by its weight."""
    smoothing, scores, target = call.get("label_smoothing", 0.0), call["input"], call["target"]
    if not (smoothing or target.is_floating_point()):
        return None
    classes = min(1, scores.dim() - 1)
    count = scores.shape[classes]
    weight, ignored = call.get("weight"), call.get("ignore_index", -100)
    weight = scores.new_ones(count) if weight is None else weight
    logs = scores.log_softmax(classes)
    weighted = logs * weight.reshape([-1] + [1] * (scores.dim() - 1 - classes))
    if target.is_floating_point():
        loss: Tensor = -(weighted * (target * (1 - smoothing) + smoothing / count)).sum(classes)
        shares = torch.ones_like(loss)
    else:
        own = F.nll_loss(logs, target, weight, ignore_index=ignored, reduction="none")
        is_judged = target != ignored
        loss = (1 - smoothing) * own - smoothing / count * torch.where(is_judged, weighted.sum(classes), 0.0)
        shares = torch.where(is_judged, weight[torch.where(is_judged, target, 0)], 0.0)
    old = call.get("size_average"), call.get("reduce")  # which F.cross_entropy still takes in place of reduction
    reduction = call.get("reduction", "mean") if old == (None, None) else legacy_get_string(*old, emit_warning=False)
    if reduction == "none":
        return loss
    return loss.sum() / shares.sum() if reduction == "mean" else loss.sum()


_NAMES = ("input", "target", "weight", "size_average", "ignore_index", "reduce", "reduction", "label_smoothing")
REWRITES: dict[Any, Any] = {F.cross_entropy: (_NAMES, _smoothed)}
