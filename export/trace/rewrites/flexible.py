"""``flex_attention``, spelt out: scores, what its functions make of them, softmax, product.

torch.onnx has no form of it. Its functions are given numbers of one score, and ``torch.vmap`` runs them for all, as
PyTorch's own kernel does without a compiler. A query that may attend to nothing gives 0.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from .attention import of_each_head
from .calls import Arguments, arange

Function = Callable[..., Tensor]
AXES = 4  # batch, head, query, key


class _IndexByTensors(TorchFunctionMode):
    """Within it a table is indexed by numbers that ``torch.vmap`` spreads over an axis, which would be read as ints."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.Tensor.__getitem__:
            places = args[1] if isinstance(args[1], tuple) else (args[1],)
            if all(isinstance(place, Tensor) for place in places):
                return torch.ops.aten.index(args[0], list(places))
        return func(*args, **(kwargs or {}))


def _attention(call: Arguments) -> tuple[Tensor, Tensor, Tensor]:
    query, key, value = (call[name] for name in ("query", "key", "value"))
    key, value = of_each_head(query, key), of_each_head(query, value)
    scores = query @ key.transpose(-2, -1) * call["scale"]
    allows = call["block_mask"][-1]
    with _IndexByTensors():
        places = [arange(size, query) for size in scores.shape]
        changed = _over_all(call["score_mod"], 1, call.get("score_mod_other_buffers", ()))(scores, *places)
        allowed = _over_all(allows, 0, call.get("mask_mod_other_buffers", ()))(*places)
    changed = torch.where(allowed, changed, -math.inf)
    is_open = (changed > -math.inf).any(-1, keepdim=True)
    found = torch.where(is_open, torch.softmax(changed, -1) @ value, 0.0)
    # the caller expects logarithms to base 2, as of the kernels of GPUs
    return found, changed.logsumexp(-1) / math.log(2), changed.amax(-1) / math.log(2)


def _over_all(function: Function, scores: int, more: Sequence[Any]) -> Function:
    """Return a function of one score's place as one of all places; its first ``scores`` arguments have all axes.

    ``more`` are its last arguments, the same for every score.
    """

    def run(*given: Any) -> Tensor:
        return function(*given, *more)

    for axis in reversed(range(AXES)):
        mapped: list[int | None] = [None] * AXES
        mapped[axis] = 0
        run = torch.vmap(run, in_dims=(*[0] * scores, *mapped))
    return run


_NAMES = (
    *("query", "key", "value", "score_mod", "block_mask", "scale", "kernel_options"),
    *("score_mod_other_buffers", "mask_mod_other_buffers"),
)
REWRITES: dict[Any, Any] = {torch.ops.higher_order.flex_attention: (_NAMES, _attention)}
