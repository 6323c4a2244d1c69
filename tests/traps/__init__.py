"""Small modules, each holding one export trap of the kind met in public attention code.

Every module stands for one way in which a traced graph goes wrong, or cannot be traced, when batch, height and width
vary. ``TRAPS`` lists them; ``benchmarks/traps.py`` runs all, ``tests/export/test_traps.py`` a fixed sample.
"""

from __future__ import annotations

from . import attention, normalisation, pooling, resampling, shapes, signals
from .trap import TRAPS, Trap

__all__ = ["TRAPS", "Trap", "attention", "normalisation", "pooling", "resampling", "shapes", "signals"]
