"""Paths of PyTorch modules, as ``layer1.0.conv2``, and which of them lie inside of which.

The path "" has two meanings. Of a module it is the whole model. Of an operator it says that the model itself computes
it, in none of its parts.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable


def is_part(path: str, module: str) -> bool:
    """Return True if ``path`` is ``module`` or a part of it; "" is the whole model."""
    return not module or path == module or path.startswith(f"{module}.")


def is_part_of_any(path: str, modules: Iterable[str]) -> bool:
    """Return True if ``path`` is one of ``modules`` or a part of one; "" is the whole model."""
    return any(is_part(path, module) for module in modules)


def is_within(path: str, modules: Iterable[str]) -> bool:
    """Return True if what computes at ``path`` is within one of ``modules``; "" is the model without its parts."""
    return any(is_part(path, module) if module else not path for module in modules)


def outermost(paths: Collection[str]) -> tuple[str, ...]:
    """Return the paths within none of the others."""
    return tuple(path for path in paths if not is_within(path, [other for other in paths if other != path]))
