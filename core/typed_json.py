"""Read JSON, and check a value of it against the type that it should have."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, is_typeddict

if sys.version_info >= (3, 11):
    from typing import NotRequired
else:
    from typing_extensions import NotRequired

__all__ = ["Is", "NotRequired", "find_wrong", "is_number", "is_whole", "parsed", "short"]

LONGEST_VALUE = 60
Wrong = tuple[str, str]  # a place in the value, and what was expected there


@dataclass(frozen=True)
class Is:
    """The condition on a value of an ``Annotated`` type, and what it asks for in words."""

    expected: str
    holds: Callable[[Any], bool]


def parsed(text: str | bytes, **options: Any) -> Any:
    """Return what a JSON document says; ``options`` are those of ``json.loads``.

    Raises ValueError for what is none, one that is nested too deeply included.
    """
    try:
        return json.loads(text, **options)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def is_whole(value: Any, low: int = -(2**63)) -> bool:
    """Return True for an integer of at least ``low`` that 64 bits hold."""
    return isinstance(value, int) and not isinstance(value, bool) and low <= value < 2**63


def is_number(value: Any) -> bool:
    """Return True for any number of JSON."""
    return isinstance(value, int | float) and not isinstance(value, bool)


_PLAIN = {
    str: Is("text", lambda value: isinstance(value, str)),
    bool: Is("true or false", lambda value: isinstance(value, bool)),
    int: Is("a number of 0 or more", lambda value: is_whole(value, 0)),
    float: Is("a number", is_number),
    list: Is("a list", lambda value: isinstance(value, list)),
    dict: Is("a dict", lambda value: isinstance(value, dict)),
}


def find_wrong(value: Any, kind: Any) -> Wrong | None:
    """Return the first place at which ``value`` is not of its type, and what was expected there; None if all is right.

    Args:
        value: What ``json.loads`` returned.
        kind: A TypedDict, list, dict with names as keys, Literal, str, bool, int (0 or more), float, ``X | None``, Any,
            or one of these in ``Annotated[..., Is(...)]``, which decides alone. Keys that a TypedDict does not name
            may be there.
    """
    if kind is Any:
        return None
    if get_origin(kind) in (Union, UnionType):
        return None if value is None else find_wrong(value, get_args(kind)[0])
    if not (rule := _rule(kind)).holds(value):
        return short(value), rule.expected
    inside = ((where, wrong) for where, wrong in _parts(value, kind) if wrong is not None)
    return next(((f"{where}, {wrong[0]}" if where else wrong[0], wrong[1]) for where, wrong in inside), None)


def short(value: Any) -> str:
    """Return the beginning of a value's JSON."""
    text = json.dumps(value)
    return text if len(text) <= LONGEST_VALUE else f"{text[:LONGEST_VALUE]}…"


def _rule(kind: Any) -> Is:
    """Return the condition on the value itself, without what it holds."""
    origin = get_origin(kind)
    if origin is Annotated:
        rule: Is = kind.__metadata__[0]
        return rule
    if origin is Literal:
        return Is(" or ".join(get_args(kind)), lambda value: value in get_args(kind))
    return _PLAIN[dict if is_typeddict(kind) else origin or kind]


def _parts(value: Any, kind: Any) -> Iterator[tuple[str, Wrong | None]]:
    """Yield for each part of a value its place and what is wrong with it."""
    origin, inner = get_origin(kind), get_args(kind)
    if is_typeddict(kind):
        for name, entry_kind in kind.__annotations__.items():
            is_required = get_origin(entry_kind) is not NotRequired
            if name in value:
                yield repr(name), find_wrong(value[name], entry_kind if is_required else get_args(entry_kind)[0])
            elif is_required:
                yield "", (repr(name), "an entry")
    elif origin is dict:
        yield from ((repr(name), find_wrong(entry, inner[1])) for name, entry in value.items())
    elif origin is list:
        yield from ((f"[{place}]", find_wrong(entry, inner[0])) for place, entry in enumerate(value))
