"""Arguments from Python that are of another kind than a function says."""

from __future__ import annotations

import errno
import functools
import inspect
import operator
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from numbers import Real
from pathlib import PurePath
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin

from ..errors import InputError, one_line
from .system_error import system_error

Made = TypeVar("Made", bound=Callable[..., Any])

# What to give for an argument of this name, if its kind alone does not say it.
_EXAMPLES = {
    "bundle": "a Bundle, or the folder of one",
    "capabilities": '"sm86,sm120" or "none"',
    "precision": '"fp32,fp16" or a list of such names',
    "precisions": '"fp32,fp16" or a list of such names',
    "progress": "a function that takes a line of text",
    "shapes": '["2x3x224x224"] or [(2, 3, 224, 224)]',
    "target": 'a TARGET by its name, as "resnet50+cbam"',
}
_WORDS: dict[Any, str] = {
    bool: "True or False",
    int: "a whole number",
    float: "a number",
    str: "text",
    NoneType: "None",
    Mapping: "a dict",
    Callable: "a function",
}
_PATH = "a path"
_is_inside: ContextVar[bool] = ContextVar("_is_inside", default=False)  # a function that is checked


def require_kind(value: object, kind: type | tuple[type, ...], name: str, example: str) -> None:
    """Raise InputError, with an ``example`` of what is expected, unless the argument ``name`` is of this kind."""
    if not isinstance(value, kind):
        raise InputError(f"received {name}={one_line(repr(value), 80)}; expected {example}; correct it")


def require_seed(seed: int) -> None:
    """Raise InputError for a seed that PyTorch or NumPy does not take."""
    if not 0 <= seed < 2**63:
        raise InputError(f"received seed {seed}; expected a whole number from 0 to 2^63 - 1; choose one, as 0")


def checked(made: Made) -> Made:
    """Have a public function, or an option class, refuse an argument of another kind than its annotation, in one line.

    An error of the system's that leaves the outermost such call is one of the package, in one line. Numbers of NumPy
    become Python's, a path its text if text is expected, and either of them a list of one if a list of such is. Lists
    in a list, and annotations that only type checkers can read, are left to the function.
    """
    if inspect.isclass(made):
        made.__init__ = _checked(made.__init__, made.__module__)  # type: ignore[method-assign]
        return made
    return _checked(made, made.__module__)


def _checked(made: Made, module: str) -> Made:
    signature = inspect.signature(made)

    @functools.cache  # at the first call, when the module has all its names
    def kinds() -> dict[str, tuple[Any, ...]]:
        names = _Names(vars(sys.modules[module]))
        written = {name: parameter.annotation for name, parameter in signature.parameters.items()}
        return {name: tuple(_either(eval(kind, {}, names))) for name, kind in written.items() if isinstance(kind, str)}

    @functools.wraps(made)
    def called(*arguments: Any, **keywords: Any) -> Any:
        try:
            given = signature.bind(*arguments, **keywords)
        except TypeError:
            return made(*arguments, **keywords)  # Python's own error names the function
        for name, value in given.arguments.items():
            given.arguments[name] = _of_kind(value, kinds().get(name, (Any,)), name)
        with _in_one_line():
            return made(*given.args, **given.kwargs)

    return called  # type: ignore[return-value]


@contextmanager
def _in_one_line() -> Iterator[None]:
    """Raise an error of the system's as one of the package, unless a function of it has called and may know it."""
    if _is_inside.get():
        yield
        return
    outside = _is_inside.set(True)
    try:
        yield
    except OSError as error:
        if error.errno == errno.ENOMEM:
            raise
        raise system_error(error) from error
    finally:
        _is_inside.reset(outside)


class _Unread:
    """Whatever an annotation names that is imported for type checkers alone."""

    Module: Any  # of "nn.Module"


_Unread.Module = _Unread


class _Names(dict[str, Any]):
    """The names of a module, and of Python; any other is taken for what only type checkers read."""

    def __missing__(self, name: str) -> Any:
        return getattr(sys.modules["builtins"], name, _Unread)


def _either(kind: Any) -> Iterator[Any]:
    """Yield the kinds of a union, or the only one."""
    if get_origin(kind) in (Union, UnionType):
        for one in get_args(kind):
            yield from _either(one)
    else:
        yield NoneType if kind is None else kind


def _of_kind(value: Any, kinds: Sequence[Any], name: str) -> Any:
    """Return the value as the first kind that takes it; raises InputError if none does."""
    taken = _first(value, kinds)
    if taken is not _Unread:
        return taken
    lists = (kind for kind in kinds if get_origin(kind) is Sequence)
    if isinstance(value, str | os.PathLike) and any(_taken([value], kind) is not _Unread for kind in lists):
        return [value]
    raise InputError(f"received {name}={one_line(repr(value), 80)}; expected {_words(kinds, name)}; correct it")


def _first(value: Any, kinds: Sequence[Any]) -> Any:
    return next((taken for kind in kinds if (taken := _taken(value, kind)) is not _Unread), _Unread)


def _taken(value: Any, kind: Any) -> Any:
    """Return the value as this kind, or ``_Unread`` if it is none."""
    origin = get_origin(kind) or kind
    if origin is Any or origin is _Unread:
        return value
    if origin is Literal:
        return value if isinstance(value, str) else _Unread  # which of them, the function says
    if origin in (int, float, bool):
        return _number(value, origin)
    if origin is str and isinstance(value, PurePath):
        return str(value)
    if origin in (Sequence, tuple):
        return _listed(value, kind, origin)
    return value if isinstance(value, origin) else _Unread


def _listed(value: Any, kind: Any, origin: type) -> Any:
    """Return a list whose elements are of the kind's, or lists themselves; a tuple if that is asked for."""
    given = value.tolist() if hasattr(value, "tolist") and origin is tuple else value
    if not isinstance(given, Sequence) or isinstance(given, str | bytes):
        return _Unread
    kinds = tuple(_either(get_args(kind)[0]))
    found = tuple(one if isinstance(one, list | tuple) and origin is Sequence else _first(one, kinds) for one in given)
    if _Unread in found:
        return _Unread
    return found if origin is tuple or any(map(operator.is_not, given, found)) else value


def _number(value: Any, kind: type) -> Any:
    """Return a number of Python, NumPy or PyTorch as one of Python; ``_Unread`` for anything else."""
    if kind is bool or isinstance(value, bool):
        is_one = isinstance(value, bool) or type(value).__name__ in ("bool", "bool_")
        return bool(value) if is_one and kind is bool else _Unread
    if kind is int:
        try:
            return operator.index(value)
        except TypeError:
            return _Unread
    return value if isinstance(value, int | float) else float(value) if isinstance(value, Real) else _Unread


def _words(kinds: Sequence[Any], name: str) -> str:
    """Return what an argument expects, in words."""
    if name in _EXAMPLES:
        return _EXAMPLES[name]
    found = [_word(kind) for kind in kinds]
    return " or ".join(dict.fromkeys(word for word in found if word != _WORDS[str] or _PATH not in found))


def _word(kind: Any) -> str:
    origin, inner = get_origin(kind) or kind, get_args(kind)
    if origin is Literal:
        return " or ".join(map(repr, inner))
    if origin in (Sequence, tuple):
        return f"a list of {_words(tuple(_either(inner[0])), '').removeprefix('a ')}s"
    if isinstance(origin, type) and issubclass(origin, os.PathLike):
        return _PATH
    return _WORDS.get(origin) or f"attn2trt.{origin.__name__}(...)"
