"""Cross entropy and the negative log likelihood, as logarithms, a Gather and products.

torch.onnx (PyTorch 2.14) leaves smoothed labels out in silence, and writes probabilities as labels, which no runtime
takes. A loss for each image is declared without an axis if the batch varies, so that ONNX's checker refuses it.
TensorRT has no operator for either loss.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn._reduction import legacy_get_string

from .calls import Arguments


def _cross_entropy(call: Arguments) -> Tensor:
    scores = call["input"]
    return _likelihood({**call, "input": scores.log_softmax(_classes(scores))})


def _classes(scores: Tensor) -> int:
    """Return the axis of the classes."""
    return min(1, scores.dim() - 1)


def _likelihood(call: Arguments) -> Tensor:
    """Return ``(1 - s)`` of the loss and ``s`` of its mean over all classes, each class by its weight."""
    logs, target, weight = call["input"], call["target"], call.get("weight")
    smoothing = call.get("label_smoothing", 0.0)
    classes = _classes(logs)
    count = logs.shape[classes]
    weighted = logs if weight is None else logs * weight.reshape([-1] + [1] * (logs.dim() - 1 - classes))
    if target.is_floating_point():
        loss: Tensor = -(weighted * (target * (1 - smoothing) + smoothing / count)).sum(classes)
        shares = torch.ones_like(loss)
    else:
        is_judged = target != call.get("ignore_index", -100)
        label = torch.where(is_judged, target, 0).long()
        loss = -weighted.gather(classes, label.unsqueeze(classes)).squeeze(classes)
        if smoothing:
            loss = (1 - smoothing) * loss - smoothing / count * weighted.sum(classes)
        loss = torch.where(is_judged, loss, 0.0)
        shares = torch.where(is_judged, torch.ones_like(loss) if weight is None else weight[label], 0.0)
    old = call.get("size_average"), call.get("reduce")  # which both still take in place of reduction
    reduction = call.get("reduction", "mean") if old == (None, None) else legacy_get_string(*old, emit_warning=False)
    if reduction == "none":
        return loss
    return loss.sum() / shares.sum() if reduction == "mean" else loss.sum()


_NAMES = ("input", "target", "weight", "size_average", "ignore_index", "reduce", "reduction")
REWRITES: dict[Any, Any] = {
    F.cross_entropy: ((*_NAMES, "label_smoothing"), _cross_entropy),
    F.nll_loss: (_NAMES, _likelihood),
}
