"""Cross entropy with smoothed labels, which torch.onnx (PyTorch 2.14) writes without the smoothing, silently."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from .calls import Arguments


def _smoothed(call: Arguments) -> Tensor | None:
    """Return ``(1 - s)`` of the loss and ``s`` of its mean over all classes, each class by its weight."""
    smoothing, scores, target = call.get("label_smoothing", 0.0), call["input"], call["target"]
    is_old = call.get("size_average") is not None or call.get("reduce") is not None
    if not smoothing or is_old:
        return None
    classes = min(1, scores.dim() - 1)
    count = scores.shape[classes]
    if target.is_floating_point():
        rest = {name: call[name] for name in ("weight", "reduction") if name in call}
        found: Tensor = F.cross_entropy(scores, target * (1 - smoothing) + smoothing / count, **rest)
        return found
    weight, ignored = call.get("weight"), call.get("ignore_index", -100)
    weight = scores.new_ones(count) if weight is None else weight
    logs = scores.log_softmax(classes)
    uniform = (logs * weight.reshape([-1] + [1] * (scores.dim() - 1 - classes))).sum(classes)
    own = F.nll_loss(logs, target, weight, ignore_index=ignored, reduction="none")
    is_judged = target != ignored
    loss: Tensor = (1 - smoothing) * own - smoothing / count * torch.where(is_judged, uniform, 0.0)
    reduction = call.get("reduction", "mean")
    if reduction == "none":
        return loss
    shares: Tensor = torch.where(is_judged, weight[torch.where(is_judged, target, 0)], 0.0)
    return loss.sum() / shares.sum() if reduction == "mean" else loss.sum()


_NAMES = ("input", "target", "weight", "size_average", "ignore_index", "reduce", "reduction", "label_smoothing")
REWRITES: dict[Any, Any] = {F.cross_entropy: (_NAMES, _smoothed)}
