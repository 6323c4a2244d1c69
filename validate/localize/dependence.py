"""The modules whose outputs go into those of others, also through functions between them."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from ..cases import Case
from ..eager import Eager, Feeds
from ..operator_mode import operator_mode
from ..sources import Sources

if TYPE_CHECKING:
    from torch import nn


def modules_read(module: nn.Module, feeds: Feeds, case: Case) -> dict[str, set[str]]:
    """Return for each module, by its path, those whose outputs its own is made of; of each its last call counts."""
    eager = Eager(module, (), 0, is_double=False)
    sources = Sources()
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


def _followed(sources: Sources, func: Any, args: Any, kwargs: Any) -> Any:
    """Return what an operator gives; it is made of what the arguments are made of."""
    results = func(*args, **kwargs)
    sources.follow(args, kwargs, results)
    return results
