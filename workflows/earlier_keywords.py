"""Keywords of ``deploy``, ``benchmark`` and ``cost`` in version 0.1.0, which are now fields of option objects.

They are accepted for one more version. The signature that type checkers see has the option objects alone.
"""

from __future__ import annotations

import functools
import inspect
import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, ParamSpec, TypeVar

from .options import Judging, PrecisionRequest, Weights

Keywords = ParamSpec("Keywords")
Result = TypeVar("Result")
Option = Weights | Judging | PrecisionRequest

# The option object of each keyword, by the keyword that takes it today.
_FIELDS: dict[str, tuple[type[Option], tuple[str, ...]]] = {
    "weights": (Weights, ("seed", "pretrained", "checkpoint")),
    "judging": (Judging, ("verdict", "max_error", "inputs", "allow_float32_truth")),
    "precision": (PrecisionRequest, ("keep_fp32", "calibrate", "calibration")),
}


def with_earlier_keywords(verb: Callable[Keywords, Result]) -> Callable[Keywords, Result]:
    """Have ``verb`` take the earlier keywords too, with a DeprecationWarning that gives the new spelling."""

    taken = [keyword for keyword in inspect.signature(verb).parameters if keyword in _FIELDS]

    @functools.wraps(verb)
    def called(*arguments: Keywords.args, **keywords: Keywords.kwargs) -> Result:
        _move(verb.__name__, taken, keywords)
        return verb(*arguments, **keywords)

    return called


def _move(verb: str, taken: Sequence[str], keywords: dict[str, Any]) -> None:
    """Move the fields of the option objects that the verb takes out of its keywords, and into these objects."""
    for keyword in taken:
        option, fields = _FIELDS[keyword]
        moved = {field: keywords.pop(field) for field in fields if field in keywords}
        if moved:
            words = ", ".join(f"{field}=…" for field in moved)
            warnings.warn(
                f"{', '.join(moved)} of {verb} go in the next version; pass {keyword}={option.__name__}({words})",
                DeprecationWarning,
                stacklevel=3,
            )
            keywords[keyword] = _with(option, keywords.get(keyword), moved)


def _with(option: type[Option], given: Any, moved: dict[str, Any]) -> Option:
    """Return the option object ``given``, or a new one, with the fields that were ``moved`` to it."""
    if isinstance(given, option):
        return replace(given, **moved)
    named = {"precisions": given} if option is PrecisionRequest and given is not None else {}
    return option(**named, **moved)
