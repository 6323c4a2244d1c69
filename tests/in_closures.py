"""A decorator that keeps a cached function where transformers has it: in a closure alone."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any


def behind_a_function(function: Callable[..., Any]) -> Callable[..., Any]:
    cached = functools.cache(function)

    @functools.wraps(function)
    def call(*args: Any) -> Any:
        return cached(*args)

    return call
