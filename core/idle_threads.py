"""The threads of OpenMP, by which PyTorch computes: asleep while there is nothing to do, not asking for work.

By default each asks for milliseconds after every operator, on a core that this process, or one beside it that judges
the same case, could use. It changes when a thread works, not what it computes.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping

_WAITING = "OMP_WAIT_POLICY"
_KNOWN = (_WAITING, "GOMP_SPINCOUNT", "KMP_BLOCKTIME")
_is_ours = False


def let_threads_sleep() -> None:
    """Have the threads of this process sleep while they wait, unless the environment says how they are to wait.

    It does nothing once PyTorch is there, since OpenMP reads the environment when it is loaded.
    """
    global _is_ours  # noqa: PLW0603 - one process, one environment
    if "torch" not in sys.modules and not any(name in os.environ for name in _KNOWN):
        os.environ[_WAITING] = "PASSIVE"
        _is_ours = True


def environment() -> Mapping[str, str]:
    """Return this process's environment as it was given: a child that times PyTorch has the threads that users have."""
    return {name: value for name, value in os.environ.items() if not (_is_ours and name == _WAITING)}
