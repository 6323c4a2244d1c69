"""Have what one child had to import ready for a new one: a child is a copy of its parent, with its modules.

A first export imports some seven hundred modules, which takes a third of a small one's time. Which they are depends on
the target and on the versions of the libraries, so a child reports after each job what it has loaded for it.
"""

from __future__ import annotations

import contextlib
import gc
import json
import re
import sys
from collections.abc import Collection, Iterable
from importlib import import_module
from pathlib import Path

# Packages whose import does nothing but define: this one, and what it exports by. A user's own module is none of them.
ROOTS = frozenset(
    {
        *("attn2trt", "torch", "timm", "onnx", "onnx_ir", "onnxscript", "numpy", "safetensors", "sympy", "mpmath"),
        *("networkx", "jinja2", "markupsafe", "rich", "click", "concurrent", "multiprocessing"),
    }
)
NAME = re.compile(r"\w+(\.\w+)*")
MOST = 5000
FILE = "modules"


def report_modules(before: Collection[str], folder: Path) -> None:
    """Write the modules that this process has beyond those of ``before`` into a file of ``folder``."""
    new = [name for name in sys.modules if name not in before and name.partition(".")[0] in ROOTS]
    with contextlib.suppress(OSError):
        (folder / FILE).write_text(json.dumps(new), encoding="utf-8")


def take_modules(folder: Path) -> list[str]:
    """Return the names that a child has reported, and remove the report."""
    file = folder / FILE
    try:
        names = json.loads(file.read_text(encoding="utf-8"))
        file.unlink()
    except (OSError, ValueError):  # it ended before it could
        return []
    return [name for name in names if isinstance(name, str)]


def import_modules(names: Iterable[str]) -> None:
    """Import modules of known packages, as far as they can be; each was imported by a child before."""
    wanted = [name for name in names if NAME.fullmatch(name) and name.partition(".")[0] in ROOTS]
    new = [name for name in wanted[:MOST] if name not in sys.modules]
    for name in new:
        with contextlib.suppress(Exception):
            import_module(name)
    if new:
        freeze()


def freeze() -> None:
    """Leave what is there out of the search for cycles: it would be copied for each child that searches."""
    gc.collect()
    gc.freeze()
