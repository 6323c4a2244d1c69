"""Other ways to write what a graph computes, exact in real arithmetic, one file each.

The fastest depends on the runtime, its kernels and the machine; a ``Rewrite`` only says where it applies. A file is
found by existing: ``REWRITES`` are those for single places, or ``BATCH_REWRITES`` those for whole graphs, after which
no other sees into the graph. ``tune`` tries the files in the order of their ``TURN``, and those without one last.
"""

from __future__ import annotations

from typing import Any

from ...core.discovery import files_of
from .rewrite import GraphRewrite, Rewrite, apply, apply_whole, kinds


def found_rewrites(kind: str, package: str = __name__) -> tuple[Any, ...]:
    """Return the rewrites that the files of a folder give under the name ``kind``, in the order of their turns.

    Its sub-folders are left out: they are for other runtimes.
    """
    files = files_of(package)
    turns = sorted(files, key=lambda file: (getattr(file, "TURN", len(files)), file.__name__))
    return tuple(rewrite for file in turns for rewrite in getattr(file, kind, ()))


REWRITES: tuple[Rewrite, ...] = found_rewrites("REWRITES")
BATCH_REWRITES: tuple[GraphRewrite, ...] = found_rewrites("BATCH_REWRITES")

__all__ = ["BATCH_REWRITES", "REWRITES", "GraphRewrite", "Rewrite", "apply", "apply_whole", "found_rewrites", "kinds"]
