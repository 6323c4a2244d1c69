"""Before anything imports NumPy or PyTorch: the test processes share the cores, so that each computes with one."""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
