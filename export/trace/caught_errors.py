"""Errors that tracing alone raises and the user's Python catches, as ``try: table[h]`` with ``except TypeError``.

A traced size has no hash and a traced tensor has no data, so that Python's own questions raise. A module that catches
such an error goes another way in the trace than it does with numbers, and nothing asks what it does at other sizes.
Every such line is noted, but for those that raise the same without a trace.
"""

from __future__ import annotations

import contextlib
import dis
import sys
from collections.abc import Callable, Iterator, Mapping
from types import CodeType, FrameType, FunctionType, ModuleType, TracebackType
from typing import Any

import sympy  # type: ignore[import-untyped]
from torch import nn

from ...modules.called_functions import closure, functions, functions_of, namespaces
from ...modules.user_line import describe
from .guards import Guard
from .unproven import Unproven, over

Place = tuple[str, int, str]  # file, line, type of the error
# of Python 3.10, and of later ones
_MATCHES = frozenset({"JUMP_IF_NOT_EXC_MATCH", "CHECK_EXC_MATCH"})


class CaughtError(Unproven):
    """A line at which an error was caught that only the trace raises."""

    def __str__(self) -> str:
        return "nothing depends on an error that tracing alone raises"


class CaughtErrors:
    """While active, notes the lines at which an error was raised that the Python of ``module`` caught."""

    def __init__(self, module: nn.Module) -> None:
        self.places: dict[Place, None] = {}
        self._module = module
        self._files: dict[int, dict[str, Any]] = {}
        self._before: Any = None

    def __enter__(self) -> CaughtErrors:
        self._files = {id(namespace): namespace for namespace in namespaces(self._module)}
        self._before = sys.gettrace()
        if _may_catch(self._module, self._files):
            sys.settrace(self._enter)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        sys.settrace(self._before)

    def _enter(self, frame: FrameType, event: str, argument: Any) -> Any:
        if id(frame.f_globals) not in self._files:
            return None
        raised: list[Place] = []

        def look(frame: FrameType, event: str, argument: Any) -> Any:
            if event == "exception":
                raised[:] = [(frame.f_code.co_filename, frame.f_lineno, argument[0].__name__)]
            elif event == "line" and raised:  # the frame goes on
                self.places[raised.pop()] = None
            return look

        return look

    def guards(
        self, names: Mapping[sympy.Symbol, sympy.Symbol], sizes: Mapping[str, int], plain: Callable[[], object]
    ) -> list[Guard]:
        """Return a guard over all axes for each line that does not raise the same in ``plain``, a run without a trace.

        ``names`` has the axes by torch's symbols; the trace was made at ``sizes``.
        """
        if not self.places or not names:
            return []
        with (
            CaughtErrors(self._module) as also,
            contextlib.suppress(Exception),
        ):  # the user's forward may raise anything
            plain()
        lines = dict.fromkeys(place[:2] for place in self.places if place not in also.places)
        return [CaughtError(over(names.values()), describe(*line), at=tuple(sizes.items())) for line in lines]


def _may_catch(module: nn.Module, files: Mapping[int, object]) -> bool:
    """Return True if a function that ``module`` calls, as far as names tell, handles errors.

    To look at every call doubles the time of a trace.
    """
    methods: dict[str, list[FunctionType]] = {}
    for function in functions_of(module):
        methods.setdefault(function.__name__, []).append(function)
    special = (name for name in methods if name == "forward" or (name.startswith("__") and name != "__init__"))
    waiting = [function for name in [*special, "<lambda>"] for function in methods.get(name, ())]
    waiting += [inner for part in module.modules() for held in vars(part).values() for inner in functions(held)]
    seen = set[FunctionType]()
    while waiting:
        function = waiting.pop()
        if function in seen or id(function.__globals__) not in files:
            continue
        seen.add(function)
        codes = [*_codes(function.__code__)]
        if any(map(_handles, codes)):
            return True
        names = {name for code in codes for name in code.co_names}
        named = [function.__globals__.get(name) for name in names]
        named += [vars(one).get(name) for one in named if isinstance(one, ModuleType) for name in names]
        waiting += [inner for value in (*named, *closure(function)) for inner in functions(value)]
        waiting += [inner for name in names for inner in methods.get(name, ())]
    return False


def _handles(code: CodeType) -> bool:
    """Return True if a function has an ``except``, or names ``suppress``; a ``with`` alone handles nothing."""
    operations = {dis.opname[number] for number in code.co_code[::2]}
    is_bare = "POP_EXCEPT" in operations and "WITH_EXCEPT_START" not in operations
    return is_bare or not _MATCHES.isdisjoint(operations) or "suppress" in code.co_names


def _codes(code: CodeType) -> Iterator[CodeType]:
    """Yield a function's code and that of the functions and comprehensions in it."""
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _codes(constant)
