"""The file and line of the classes of a module's parts, so that a verdict can point to them."""

from __future__ import annotations

import inspect
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import nn

# Nobody mends these for a verdict's sake.
_LIBRARIES = ("torch", "torchvision")


def class_and_line(module: nn.Module) -> tuple[str, str]:
    """Return the class's name, and the file and line of its ``forward`` ("" if Python does not know)."""
    kind = type(module)
    # not inspect.getsourcelines, which reads the whole file as Python: a cell of a page is a part of one
    code = getattr(inspect.unwrap(kind.forward), "__code__", None)
    file = None if code is None else inspect.getsourcefile(code)
    if code is None or file is None:
        return kind.__qualname__, ""
    shorter = os.path.relpath(file)
    place = file if shorter.startswith(os.pardir) else Path(shorter)
    return kind.__qualname__, f"{place}:{code.co_firstlineno}"


def classes_of(module: nn.Module) -> list[dict[str, Any]]:
    """Return every class that is not PyTorch's own, with its place and the paths of the modules of it.

    Returns:
        ``{"name": "Gate", "source": "net.py:12", "modules": ["layer1.gate"]}``, in the order of the modules.
    """
    found: dict[type, list[str]] = {}
    for path, part in module.named_modules(remove_duplicate=False):
        if type(part).__module__.partition(".")[0] not in _LIBRARIES:
            found.setdefault(type(part), []).append(path)
    parts = dict(module.named_modules(remove_duplicate=False))
    entries = ((*class_and_line(parts[paths[0]]), paths) for paths in found.values())
    return [{"name": name, "source": source, "modules": paths} for name, source, paths in entries]
