"""``scaled_dot_product_attention`` with a mask, or of anything but four axes, spelt out.

torch.onnx translates queries of shape (batch, heads, places, features) alone and ends with an assertion for any other
rank. Attention in windows has one axis more (Hiera, MaxViT's kin), a single head one less. If a mask leaves a query
nothing to attend to, PyTorch gives 0 and torch.onnx's translation NaN or the mean of all values (pytorch/pytorch#131060
has PyTorch's rule). The zeros are put in behind the second product, so that runtimes still know the pattern.
A negative scale is spelt out, too: torch.onnx takes its root.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from .calls import Arguments

RANK = 4


def of_each_head(query: Tensor, part: Tensor) -> Tensor:
    """Return keys or values, (…, groups, places, features), once for each head of the queries in a group."""
    heads = query.shape[-3] // part.shape[-3]
    return part if heads == 1 else part.repeat_interleave(heads, -3)


def _attention(call: Arguments) -> Tensor | None:
    query, key, value = (call[name] for name in ("query", "key", "value"))
    given: Tensor | None = call.get("attn_mask")
    scale = call.get("scale")
    is_negative = isinstance(scale, (int, float)) and scale < 0
    is_translated = given is None and not is_negative and (query.dim() == RANK or call.get("enable_gqa"))
    if call.get("dropout_p") or is_translated:
        return None
    if call.get("enable_gqa"):
        key, value = of_each_head(query, key), of_each_head(query, value)
    # Half of the scale on either side, as PyTorch's own: neither factor of the product then overflows before it.
    half = query.shape[-1] ** -0.25 if scale is None else math.sqrt(-scale if is_negative else scale)
    scores: Tensor = (query * (-half if is_negative else half)) @ (key * half).transpose(-2, -1)
    mask = torch.ones_like(scores, dtype=torch.bool).tril() if call.get("is_causal") else given
    if mask is not None:
        scores = scores.masked_fill(~mask, -math.inf) if mask.dtype == torch.bool else scores + mask
    found: Tensor = torch.softmax(scores, -1) @ value
    if given is None:
        return found
    is_open = given if given.dtype == torch.bool else given > -math.inf
    return torch.where(is_open.any(-1, keepdim=True), found, 0.0)


_NAMES = ("query", "key", "value", "attn_mask", "dropout_p", "is_causal", "scale", "enable_gqa")
REWRITES: dict[Any, Any] = {F.scaled_dot_product_attention: (_NAMES, _attention)}
