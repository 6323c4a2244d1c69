"""The innermost line of a stack that is the user's: neither torch's, nor Python's, nor of what traces and judges."""

from __future__ import annotations

import inspect
import linecache
import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from pathlib import Path
from types import FrameType
from typing import Any

_ROOT = Path(__file__).parent.parent
_CALLERS = _ROOT / "workflows"
_ROOMS = ("cli", "core", "engines", "export", "modules", "report", "validate", "workflows")
_OURS = tuple(_ROOT / room for room in _ROOMS)
_DEPLOYED = (_ROOT / "modules" / "blocks", _ROOT / "modules" / "backbones")  # as a user's own module is
_EXPORTERS = tuple(_ROOT / "export" / "trace" / name for name in ("tracing.py", "exporter.py"))
_STANDARD = Path(os.__file__).parent
SHOWN = 100


def frames() -> Iterator[tuple[str, int]]:
    """(file, line) of every frame of the running stack, the innermost first."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        yield frame.f_code.co_filename, frame.f_lineno
        frame = frame.f_back


def traced_frames(node: Any) -> list[tuple[str, int]]:
    """Return (file, line) of every frame in which a node of a traced graph was made, the innermost first."""
    found = re.findall(r'File "([^"]+)", line (\d+)', str(node.meta.get("stack_trace", "")))
    return [(name, int(number)) for name, number in reversed(found)]


def line_of_error(error: BaseException) -> str:
    """Return the innermost line of the user's Python on the way to ``error``, as file:line and its text; "" if none."""
    while True:
        found = []
        trace = error.__traceback__
        while trace is not None:
            found.append((trace.tb_frame.f_code.co_filename, trace.tb_lineno))
            trace = trace.tb_next
        line = line_of(reversed(found))
        if line or error.__cause__ is None:
            return line
        error = error.__cause__


def line_of(stack: Iterable[tuple[str, int]]) -> str:
    """Return the first of these (file, line) that is the user's, as file:line and its text; "" if there is none.

    Nothing between an exporter and torch is a line of the user's, nor is what called a workflow: the search ends there.
    """
    for name, number in stack:
        if is_users(name):
            return describe(name, number)
        if Path(name) in _EXPORTERS or _CALLERS in Path(name).parents:
            return ""
    return ""


def return_line(run: Callable[[], object]) -> str:
    """Return the last line of the user's at which a function of his returned while ``run`` ran; "" if there is none.

    That of the outermost one: the forward of the module that ``run`` calls, unless torch wrote it.
    """
    last: list[tuple[str, int]] = []

    def watch(frame: FrameType, event: str, _: object) -> None:
        if event == "return" and is_users(frame.f_code.co_filename):
            last[:] = [(frame.f_code.co_filename, frame.f_lineno)]

    before = sys.getprofile()
    sys.setprofile(watch)
    try:
        run()
    finally:
        sys.setprofile(before)
    return line_of(last)


def line_of_text(trace: str) -> str:
    """Return the innermost line of the user's in the text of a stack trace, as file:line and its text; "" if none."""
    found = [(name, int(number)) for name, number in re.findall(r'File "([^"]+)", line (\d+)', trace)]
    return next((describe(*one) for one in reversed(found) if is_users(one[0])), "")


def definition_line(module: object) -> str:
    """Return the line of the user's class that defines the forward of ``module``, as file:line and its text."""
    function = inspect.unwrap(getattr(type(module), "forward", type(module)))
    code = getattr(function, "__code__", None)
    return describe(code.co_filename, code.co_firstlineno) if code and is_users(code.co_filename) else ""


@lru_cache(maxsize=4096)
def is_users(name: str) -> bool:
    """Return True if a file is outside of torch, the standard library and what traces, judges and wraps here."""
    import torch

    path = Path(name)
    if name.startswith("<") or (_is_below(path, _OURS) and not _is_below(path, _DEPLOYED)):
        return False
    is_standard = _STANDARD in path.parents and "site-packages" not in path.parts
    return not is_standard and Path(torch.__file__).parent not in path.parents


def _is_below(path: Path, folders: Iterable[Path]) -> bool:
    return any(folder in path.parents for folder in folders)


def describe(name: str, number: int) -> str:
    """Return file:line and the beginning of the line's text, the file as seen from the working folder."""
    text = linecache.getline(name, number).strip()
    shown = text if len(text) <= SHOWN else f"{text[:SHOWN].rstrip()} …"
    return f"{_short(Path(name))}:{number}" + (f" `{shown}`" if text else "")


def _short(path: Path) -> str:
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)
