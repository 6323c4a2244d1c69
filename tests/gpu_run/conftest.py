"""Benchmarks are no part of the package: their folder is where gpu_check.py finds its own modules."""

from __future__ import annotations

import sys
from pathlib import Path

# last: both folders have a module named traps
sys.path.append(str(Path(__file__).parents[2] / "benchmarks"))
