"""Other ways to write what a graph computes, exact in real arithmetic, one file each.

The fastest depends on the runtime, its kernels and the machine; a ``Form`` only says where it applies. A file is found
by existing: ``FORMS`` are its forms for single places, or ``BATCH_FORMS`` for whole graphs, after which no other form
sees into the graph. ``tune`` tries the files in the order of their ``TURN``, and those without one last.
"""

from __future__ import annotations

import pkgutil
from importlib import import_module
from typing import Any

from .form import Form, GraphForm, apply, apply_whole, kinds


def found_forms(kind: str) -> tuple[Any, ...]:
    """Return the forms that the files of this folder give under the name ``kind``, in the order of their turns."""
    files = [import_module(f"{__name__}.{found.name}") for found in pkgutil.iter_modules(__path__)]
    turns = sorted(files, key=lambda file: (getattr(file, "TURN", len(files)), file.__name__))
    return tuple(form for file in turns for form in getattr(file, kind, ()))


FORMS: tuple[Form, ...] = found_forms("FORMS")
BATCH_FORMS: tuple[GraphForm, ...] = found_forms("BATCH_FORMS")

__all__ = ["BATCH_FORMS", "FORMS", "Form", "GraphForm", "apply", "apply_whole", "found_forms", "kinds"]
