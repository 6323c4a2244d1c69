"""Show values inside a run: as many at a time as memory allows, and fewer if showing them hides the error.

A value that is to be seen must be kept, and a runtime that keeps it may leave out the very fusion that is wrong.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeVar

from ..arrays import Arrays

# The most that the tensors of one pass over the model take.
PASS_BYTES = 64 << 20

T = TypeVar("T")


def passes(items: Iterable[T], bytes_of: Callable[[T], int], limit: int) -> Iterator[list[T]]:
    """``items`` in groups of about ``limit`` bytes: the item that goes over it is the last of its group."""
    group: list[T] = []
    size = 0
    for item in items:
        group.append(item)
        size += bytes_of(item)
        if size > limit:
            yield group
            group, size = [], 0
    if group:
        yield group


def watch(
    names: Sequence[str], run: Callable[[Sequence[str]], Arrays], is_wrong: Callable[[Arrays], bool]
) -> tuple[Arrays, set[str]]:
    """The values of ``names`` in a run that is wrong all the same, and the names that hide the error when shown.

    ``run`` returns the values that it must show, and the outputs by which ``is_wrong`` judges. If showing all
    makes the error vanish, each half is shown alone; a name that hides it by itself is left out of the values.
    """
    if not names:
        return {}, set()
    found = run(names)
    if is_wrong(found):
        return {name: found[name] for name in names}, set()
    if len(names) == 1:
        return {}, set(names)
    half = len(names) // 2
    values, hiding = watch(names[:half], run, is_wrong)
    more_values, more_hiding = watch(names[half:], run, is_wrong)
    return values | more_values, hiding | more_hiding
