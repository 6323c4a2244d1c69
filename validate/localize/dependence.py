"""The modules whose outputs go into those of others, also through functions between them."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from ..cases import Case
from ..eager import Eager, Feeds
from ..operator_mode import operator_mode
from .eager_calls import tensors

if TYPE_CHECKING:
    from torch import nn


class _Sources:
    """The calls of modules that the numbers in each storage are made of, one bit for each call."""

    def __init__(self) -> None:
        self._bits: WeakKeyDictionary[Any, int] = WeakKeyDictionary()

    def of(self, tree: Any) -> int:
        """Return the calls that any tensor in ``tree`` is made of."""
        found = 0
        for storage in _storages(tree):
            found |= self._bits.get(storage, 0)
        return found

    def add(self, tree: Any, bits: int) -> None:
        """Note of every tensor in ``tree`` that it is made of these calls, too."""
        for storage in _storages(tree) if bits else ():
            self._bits[storage] = self._bits.get(storage, 0) | bits


def modules_read(module: nn.Module, feeds: Feeds, case: Case) -> dict[str, set[str]]:
    """Return for each module, by its path, those whose outputs its own is made of; of each its last call counts."""
    eager = Eager(module, (), 0, is_double=False)
    sources = _Sources()
    made_of: dict[str, int] = {}
    bits: dict[str, int] = {}
    calls = 0

    def leave(path: str, output: Any) -> None:
        nonlocal calls
        made_of[path], bits[path] = sources.of(output), 1 << calls
        calls += 1
        sources.add(output, bits[path])

    for path, part in eager.module.named_modules():
        part.register_forward_hook(lambda _module, _inputs, output, path=path: leave(path, output))
    with operator_mode(partial(_followed, sources)):
        eager.run(feeds, case)
    return {path: {other for other, bit in bits.items() if own & bit} for path, own in made_of.items()}


def _storages(tree: Any) -> list[Any]:
    import torch

    return [tensor.untyped_storage() for tensor in tensors(tree) if tensor.layout is torch.strided]


def _followed(sources: _Sources, func: Any, args: Any, kwargs: Any) -> Any:
    """Return what an operator gives; it is made of what the arguments are made of."""
    results = func(*args, **kwargs)
    sources.add(results, sources.of((args, kwargs)))
    return results
