"""Leave the caller's module in the mode in which it came: training goes on after a deployment as before it."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


def keeps_training_mode(function: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
    """Make ``function`` put every part of the module that is its first argument back into the mode that it had."""

    @functools.wraps(function)
    def call(*arguments: Arguments.args, **options: Arguments.kwargs) -> Result:
        before = [(part, part.training) for part in _parts(next(iter((*arguments, *options.values())), None))]
        try:
            return function(*arguments, **options)
        finally:
            for part, training in before:
                part.training = training

    return call


def _parts(target: Any) -> list[Any]:
    torch = sys.modules.get("torch")  # a module cannot be there before torch is
    return list(target.modules()) if torch is not None and isinstance(target, torch.nn.Module) else []
