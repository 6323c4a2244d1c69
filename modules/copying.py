"""Copies of a module that compute by themselves: hooks and functions that close over the module close over its copy.

``copy.deepcopy`` takes functions as they are. A hook that stores a feature on the module then stores it on the
original, and the copy's forward reads what the original had when it was copied.
"""

from __future__ import annotations

import copy
import copyreg
import dis
import functools
import gc
import types
import weakref
from collections import OrderedDict
from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager
from operator import methodcaller
from typing import Any

import torch
from torch import nn

from ..errors import ModuleRefused, typed_line
from .user_line import is_users

# What nothing of a module is looked for behind.
_LEAVES = (torch.Tensor, type, types.ModuleType, types.CodeType, types.FrameType, str, bytes, int, float, complex)

# ``copy`` has no way to copy what looks at a dict, as ``self.layers.keys()`` that a module keeps.
_DICTS: tuple[dict[Any, Any], ...] = ({}, OrderedDict())
_VIEWS = {type(methodcaller(name)(held)): methodcaller(name) for held in _DICTS for name in ("keys", "values", "items")}


def copy_module(module: nn.Module, *, shares_parameters: bool = False, dtype: torch.dtype | None = None) -> nn.Module:
    """Return a copy of ``module`` that leaves it as it is, whatever is done with the copy.

    With ``shares_parameters`` the two have the same parameters, which costs no memory; only those of another floating
    type than ``dtype``, if it is given, are made anew in that type. Raises ModuleRefused if a part cannot be copied, or
    if what the copy calls still refers to the original.
    """
    shared: dict[int, Any] = {id(tensor): tensor.detach().clone() for tensor in _computed(module)}
    # what quantisation-aware training was set up by makes more modules, and holds this one to do so
    shared |= {id(part.qconfig): None for part in module.modules() if "qconfig" in vars(part)}
    if shares_parameters:
        shared |= {
            id(parameter): of_type for parameter in module.parameters() for of_type in _as_type(parameter, dtype)
        }
    while True:
        copied, redirection = _copied(module, dict(shared))
        holder, held = _refers_to(copied, redirection.originals)
        if not holder:
            return copied
        if isinstance(held, (nn.Module, nn.Parameter)) or shared.get(id(held)) is held:
            raise ModuleRefused(
                f"{type(module).__name__} cannot be copied, which tracing and the float64 reference need: {holder} "
                "refers to the original module by a global name; refer to it by an argument, as hooks have the module "
                "for their first"
            )
        shared[id(held)] = held  # what functions know by a global name, they share with every copy


def _as_type(parameter: nn.Parameter, dtype: torch.dtype | None) -> Iterator[nn.Parameter]:
    """Yield the parameter in a floating type: itself if that is its own, nothing if its class is the user's."""
    if dtype is None or parameter.dtype == dtype or not parameter.is_floating_point():
        yield parameter
    elif type(parameter) is nn.Parameter:
        yield nn.Parameter(parameter.detach().to(dtype), parameter.requires_grad)


def _copied(module: nn.Module, memo: dict[int, Any]) -> tuple[nn.Module, _Redirection]:
    try:
        with _copied_views():
            copied = copy.deepcopy(module, memo)
        redirection = _Redirection(memo)
        redirection.of(copied)
    except Exception as error:
        reason = typed_line(error, 300)
        raise ModuleRefused(
            f"{type(module).__name__} cannot be copied ({reason}), which tracing and the float64 reference need; "
            "make copy.deepcopy(module) work"
        ) from error
    return copied, redirection


@contextmanager
def _copied_views() -> Iterator[None]:
    """Have ``copy`` copy what looks at a dict as one that looks at the copied dict."""
    before = dict(copyreg.dispatch_table)
    copyreg.dispatch_table.update({view: _reduced for view in _VIEWS if view not in before})
    try:
        yield
    finally:
        for view in _VIEWS:
            if view not in before:
                del copyreg.dispatch_table[view]


def _reduced(view: Any) -> tuple[Any, ...]:
    (held,) = gc.get_referents(view)
    return _VIEWS[type(view)], (held,)


def _computed(module: nn.Module) -> Iterator[torch.Tensor]:
    """Tensors that the module keeps from an earlier call: those with a history cannot be copied with it."""
    waiting: list[object] = [vars(part) for part in module.modules()]
    seen: set[int] = set()
    while waiting:
        value = waiting.pop()
        if id(value) in seen:
            continue
        seen.add(id(value))
        if isinstance(value, torch.Tensor):
            if value.grad_fn is not None:
                yield value
        elif isinstance(value, dict):
            waiting += value.values()
        elif isinstance(value, (list, tuple)):
            waiting += value


def _originals(memo: dict[int, Any]) -> dict[int, Any]:
    """id of what was copied -> its copy, of everything that has become another object."""
    return {key: value for key, value in memo.items() if key not in (id(memo), id(value))}


class _Redirection:
    """Put copies in the place of originals in what ``copy.deepcopy`` takes as it is."""

    def __init__(self, memo: dict[int, Any]) -> None:
        self._memo = memo
        self.originals = _originals(memo)
        self._copies = set(map(id, self.originals.values()))
        self._done: dict[int, Any] = {}
        self._kept: list[Any] = []  # so that no id is used twice

    def of(self, module: nn.Module) -> None:
        """Redirect the hooks and attributes of every part of the copy ``module``."""
        for part in module.modules():
            for name, value in vars(part).items():
                if name not in ("_modules", "_parameters", "_buffers"):
                    vars(part)[name] = self._redirected(value)

    def _redirected(self, value: Any) -> Any:
        if id(value) in self.originals:
            return self.originals[id(value)]
        if id(value) in self._done:
            return self._done[id(value)]
        self._kept.append(value)
        self._done[id(value)] = value
        found = self._changed(value)
        self._done[id(value)] = found
        return found

    def _changed(self, value: Any) -> Any:
        if isinstance(value, types.FunctionType):
            compiled = getattr(value, "_torchdynamo_orig_callable", None)  # what torch.compile was given
            return self._function(value) if compiled is None else self._redirected(compiled)
        if isinstance(value, types.MethodType):
            function, owner = self._redirected(value.__func__), self._redirected(value.__self__)
            same = function is value.__func__ and owner is value.__self__
            return value if same else types.MethodType(function, owner)
        if isinstance(value, functools.partial):
            function, *arguments = (self._redirected(part) for part in (value.func, *value.args))
            named = {name: self._redirected(part) for name, part in value.keywords.items()}
            return functools.partial(function, *arguments, **named)
        if isinstance(value, weakref.ref):
            copied = self.originals.get(id(value()))
            return value if copied is None else weakref.ref(copied)
        if type(value) is tuple:
            parts = [self._redirected(part) for part in value]
            return value if all(map(_is, parts, value)) else tuple(parts)
        if id(value) in self._copies:
            self._fill(value)
        return value

    def _fill(self, value: Any) -> None:
        """Redirect what a container or an object of the copy holds."""
        if isinstance(value, list):
            value[:] = [self._redirected(part) for part in value]
        elif not isinstance(value, (nn.Module, torch.Tensor)):
            held = value if isinstance(value, MutableMapping) else getattr(value, "__dict__", {})
            for key in list(held):
                if (new := self._redirected(held[key])) is not held[key]:
                    held[key] = new

    def _function(self, function: types.FunctionType) -> types.FunctionType:
        """A function whose cells and defaults hold the copies; itself if it holds no original."""
        if not _refers_to(function, self.originals)[0]:
            return function
        cells = tuple(types.CellType() for _ in function.__closure__ or ())
        new = types.FunctionType(function.__code__, function.__globals__, function.__name__, None, cells or None)
        self._done[id(function)] = new  # a function may hold itself
        for cell, old in zip(cells, function.__closure__ or (), strict=True):
            try:
                cell.cell_contents = self._held(old.cell_contents)
            except ValueError:  # a cell that nothing has been put into yet
                continue
        new.__defaults__ = self._held(function.__defaults__)
        new.__kwdefaults__ = self._held(function.__kwdefaults__)
        new.__dict__.update(function.__dict__)
        new.__qualname__ = function.__qualname__
        return new

    def _held(self, value: Any) -> Any:
        """Return the content of a cell: shared with the original unless it refers to it."""
        if not isinstance(value, _CALLABLE) and _refers_to(value, self.originals)[0]:
            value = copy.deepcopy(value, self._memo)
            self.originals = _originals(self._memo)
            self._copies = set(map(id, self.originals.values()))
        return self._redirected(value)


_CALLABLE = (types.FunctionType, types.MethodType, functools.partial, weakref.ref)


def _is(one: object, other: object) -> bool:
    return one is other


def _refers_to(start: object, originals: dict[int, Any]) -> tuple[str, object]:
    """Return what holds one of the ``originals``, of all that is reached from ``start``, in words, and that original.

    ("", None) if nothing does.
    """
    waiting: list[tuple[object, str]] = [(start, "a function")]
    seen: set[int] = set()
    kept: list[object] = []
    while waiting:
        value, holder = waiting.pop()
        if id(value) in originals:
            return holder, value
        if id(value) in seen or (isinstance(value, _LEAVES) and not isinstance(value, types.FunctionType)):
            continue
        seen.add(id(value))
        kept.append(value)
        if isinstance(value, types.FunctionType):
            holder = f"{value.__qualname__} ({value.__code__.co_filename}:{value.__code__.co_firstlineno})"
        elif isinstance(value, weakref.ref):
            waiting.append((value(), f"a weak reference in {holder}"))
        waiting += [(part, holder) for part in _parts(value)]
    return "", None


def _parts(value: object) -> list[Any]:
    """Return an object's contents: of a function its closure and the globals that it reads, of a module all but its
    class."""
    if isinstance(value, types.FunctionType):
        cells = []
        for cell in value.__closure__ or ():
            try:
                cells.append(cell.cell_contents)
            except ValueError:
                continue
        return [*cells, value.__defaults__, value.__kwdefaults__, value.__dict__, *_globals_read(value)]
    forward = [type(value).forward] if isinstance(value, nn.Module) else []
    return [*gc.get_referents(value), *forward]


def _globals_read(function: types.FunctionType) -> list[Any]:
    """Return what a function of the user's reads from its file; what libraries read is theirs."""
    name = function.__code__.co_filename
    if not is_users(name) or "site-packages" in name:
        return []
    return [function.__globals__.get(read) for read in _globals_of(function.__code__)]


@functools.lru_cache(maxsize=1024)
def _globals_of(code: types.CodeType) -> frozenset[str]:
    names = {step.argval for step in dis.get_instructions(code) if step.opname in ("LOAD_GLOBAL", "LOAD_NAME")}
    inner = [found for found in code.co_consts if isinstance(found, types.CodeType)]
    return frozenset(names).union(*map(_globals_of, inner))
