"""A mode in which a function runs every operator of PyTorch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Any

# (operator, its arguments, its keyword arguments) -> its result
Call = Callable[[Any, Any, Mapping[str, Any]], Any]


def operator_mode(call: Call) -> AbstractContextManager[Any]:
    """Return a mode in which ``call`` gives the result of every operator. PyTorch is imported for that."""
    from ..modules.seen_operators import OperatorMode

    class Operators(OperatorMode):
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            return call(func, args, kwargs or {})

    return Operators()
