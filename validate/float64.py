"""A mode in which PyTorch computes in float64 throughout."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

# (name of the operator, lowest and highest value of its result)
Seen = Callable[[str, float, float], None]


def float64_mode(seen: Seen | None = None) -> Any:
    """A mode that keeps every operator of a float64 run in float64; ``seen`` is told the range of every result.

    A module that says ``.float()`` or holds a float32 constant would otherwise round on the way, and the truth
    would be no better than what is judged by it.
    """
    import torch
    from torch.utils._python_dispatch import TorchDispatchMode
    from torch.utils._pytree import tree_leaves, tree_map

    narrow = (torch.float32, torch.float16, torch.bfloat16)

    def is_narrow(value: Any) -> bool:
        if isinstance(value, torch.Tensor):
            return value.dtype in narrow
        if isinstance(value, (list, tuple)):
            return any(map(is_narrow, value))
        return value in narrow

    def widen(value: Any) -> Any:
        if isinstance(value, torch.Tensor) and value.dtype in narrow:
            return value.double()
        return torch.float64 if value in narrow else value

    class Float64(TorchDispatchMode):  # type: ignore[no-untyped-call]
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            kwargs = kwargs or {}
            # Most calls hold nothing narrow, and looking is cheaper than mapping.
            if (is_narrow(args) or is_narrow([*kwargs.values()])) and not func._schema.is_mutable:
                args, kwargs = tree_map(widen, args), tree_map(widen, kwargs)
            result = func(*args, **kwargs)
            if seen is not None:
                for leaf in tree_leaves(result):
                    if isinstance(leaf, torch.Tensor) and leaf.is_floating_point() and leaf.numel():
                        low, high = torch.aminmax(leaf.detach())
                        seen(func.overloadpacket.__name__, float(low), float(high))
            return result

    return Float64()  # type: ignore[no-untyped-call]
