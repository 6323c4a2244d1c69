"""``scaled_dot_product_attention`` of anything but four axes, spelt out.

torch.onnx translates queries of shape (batch, heads, places, features) alone and ends with an assertion for any other
rank. Attention in windows has one axis more (Hiera, MaxViT's kin), a single head one less.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from .calls import Arguments

RANK = 4


def _attention(call: Arguments) -> Tensor | None:
    query, key, value = (call[name] for name in ("query", "key", "value"))
    if query.dim() == RANK or call.get("dropout_p") or call.get("enable_gqa"):
        return None
    scale = call.get("scale")
    # Half of the scale on either side, as PyTorch's own: neither factor of the product then overflows before it.
    half = query.shape[-1] ** -0.25 if scale is None else math.sqrt(scale)
    scores: Tensor = (query * half) @ (key * half).transpose(-2, -1)
    mask = call.get("attn_mask")
    if call.get("is_causal"):
        mask = torch.ones_like(scores, dtype=torch.bool).tril()
    if mask is not None:
        scores = scores.masked_fill(~mask, -math.inf) if mask.dtype == torch.bool else scores + mask
    found: Tensor = torch.softmax(scores, -1) @ value
    return found


_NAMES = ("query", "key", "value", "attn_mask", "dropout_p", "is_causal", "scale", "enable_gqa")
REWRITES: dict[Any, Any] = {F.scaled_dot_product_attention: (_NAMES, _attention)}
