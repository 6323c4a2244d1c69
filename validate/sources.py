"""What the numbers of each tensor are made of: a bit for each source, as an input or the call of a module."""

from __future__ import annotations

from typing import Any
from weakref import WeakKeyDictionary


class Sources:
    """The sources that the numbers in each storage are made of: what is written through a view reaches its base."""

    def __init__(self) -> None:
        self._bits: WeakKeyDictionary[Any, int] = WeakKeyDictionary()

    def of(self, tree: Any) -> int:
        """Return the sources of all tensors in ``tree``."""
        found = 0
        for storage in _storages(tree):
            found |= self._bits.get(storage, 0)
        return found

    def add(self, tree: Any, bits: int) -> None:
        """Note of every tensor in ``tree`` that it is made of these sources, too."""
        for storage in _storages(tree) if bits else ():
            self._bits[storage] = self._bits.get(storage, 0) | bits

    def follow(self, args: Any, kwargs: Any, result: Any) -> int:
        """Return the sources of an operator's arguments, and note that its ``result`` is made of them."""
        found = self.of((args, kwargs))
        self.add(result, found)
        return found


def _storages(tree: Any) -> list[Any]:
    import torch
    from torch.utils._pytree import tree_leaves

    tensors = [leaf for leaf in tree_leaves(tree) if isinstance(leaf, torch.Tensor)]
    return [tensor.untyped_storage() for tensor in tensors if tensor.layout is torch.strided]
