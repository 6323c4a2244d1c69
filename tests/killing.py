"""Kill a process right before or right after every call that changes the file system, one call further each time."""

from __future__ import annotations

import itertools
import os
import pathlib
import signal
import sys
import traceback
from collections.abc import Callable, Iterator
from typing import Any

CALLS = ("mkdir", "rename", "replace", "unlink", "rmdir", "fsync", "link")
LIMIT = 400
os.fsync = lambda _descriptor: None  # a kill, unlike a power cut, loses nothing of what the kernel has


def kill_at_each(
    work: Callable[[], None], before: Callable[[], None], *, more: list[tuple[Any, str]] | None = None
) -> Iterator[tuple[str, bool]]:
    """Call ``work`` in a process that is killed at the first call, then in one that is killed at the second, and so on.

    Yields the call with "before" or "after", and False, for as long as one is killed; then ("", True) for one that
    came to its end. ``before`` is called first each time, ``more`` are functions of modules beside those of ``os``.
    """
    for moment in itertools.count():
        assert moment < LIMIT
        for after in (False, True):
            before()
            reader, writer = os.pipe()
            child = os.fork()
            if not child:
                _die_at(moment, after, writer, [*((os, name) for name in CALLS), *(more or ())], work)
            os.close(writer)
            call = os.read(reader, 100).decode()
            os.close(reader)
            code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
            assert code in (0, -signal.SIGKILL), code
            if code == 0:
                yield "", True
                return
            yield f"{'after' if after else 'before'} {call}", False


def _die_at(moment: int, after: bool, writer: int, functions: list[tuple[Any, str]], work: Callable[[], None]) -> None:
    left = moment

    def deadly(call: Callable[..., Any]) -> Callable[..., Any]:
        def called(*arguments: Any, **options: Any) -> Any:
            nonlocal left
            left -= 1
            if left >= 0:
                return call(*arguments, **options)
            os.write(writer, f"{call.__name__}{arguments}"[:100].encode())
            if after:
                call(*arguments, **options)
            os.kill(os.getpid(), signal.SIGKILL)
            return None

        return called

    for module, name in functions:
        setattr(module, name, deadly(getattr(module, name)))
    accessor = getattr(pathlib, "_NormalAccessor", None)  # Python 3.10's paths keep the functions of os for themselves
    for name in CALLS if accessor is not None else ():
        if hasattr(accessor, name):
            setattr(accessor, name, staticmethod(getattr(os, name)))
    try:
        work()
    except BaseException:
        traceback.print_exc(file=sys.stderr)
        os._exit(1)
    os._exit(0)
