"""A mode in which PyTorch computes in float64 throughout."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

# (name of the operator, lowest and highest value of its result)
Seen = Callable[[str, float, float], None]


# (operator, its arguments, its keyword arguments) -> its result
Call = Callable[[Any, Any, Any], Any]


class Overlap(Exception):
    """An assignment whose two sides share memory: its result depends on the order in which elements are copied."""


class BatchStatistics(Exception):
    """A batch normalisation by the batch itself that changes running statistics, as in training."""


def float64_mode(seen: Seen | None = None, call: Call | None = None, *, widens: bool = True) -> Any:
    """A mode that keeps every operator of a float64 run in float64; ``seen`` gets the range of every result.

    ``call`` runs the operators, if it is given. Without ``widens`` every operator keeps its own type.

    A module that says ``.float()`` or holds a float32 constant would otherwise round on the way, and the truth
    would be no better than what is judged by it. Raises Overlap where a tensor is copied onto a part of itself, the one
    operation of this kind that PyTorch does not refuse, and BatchStatistics.
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
            if func is torch.ops.aten.copy_.default and _overlap(args[0], args[1]):
                raise Overlap
            if func is torch.ops.aten.native_batch_norm.default and _trains(args[0], *args[3:6]):
                raise BatchStatistics
            # Most calls hold nothing narrow, and looking is cheaper than mapping.
            if widens and (is_narrow(args) or is_narrow([*kwargs.values()])) and not func._schema.is_mutable:
                args, kwargs = tree_map(widen, args), tree_map(widen, kwargs)
            result = func(*args, **kwargs) if call is None else call(func, args, kwargs)
            if seen is not None:
                for leaf in tree_leaves(result):
                    if isinstance(leaf, torch.Tensor) and leaf.is_floating_point() and leaf.numel():
                        low, high = torch.aminmax(leaf.detach())
                        seen(func.overloadpacket.__name__, float(low), float(high))
            return result

    return Float64()  # type: ignore[no-untyped-call]


def _trains(x: Any, mean: Any, _variance: Any, training: bool) -> bool:
    """Return True if running statistics are updated; those of an instance normalisation, a batch of one, are copies."""
    return training and mean is not None and not (x.shape[0] == 1 and x._is_view())


def _overlap(into: Any, source: Any) -> bool:
    """Whether two tensors share elements without being the same ones in the same order."""
    import torch

    def layout(tensor: Any) -> tuple[Any, ...]:
        return tuple(tensor.shape), tensor.stride(), tensor.storage_offset()

    storage = into.untyped_storage()
    if storage.data_ptr() != source.untyped_storage().data_ptr() or layout(into) == layout(source):
        return False
    written = torch.zeros(storage.nbytes() // into.element_size(), dtype=torch.bool)
    written.as_strided(*layout(into)).fill_(True)
    return bool(written.as_strided(*layout(source)).any())
