"""``--require``: end early, with the fix, if this machine lacks something."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..errors import MissingRequirement

if TYPE_CHECKING:
    from ..engines.environment import Environment


def check(names: Sequence[str], environment: Environment | None = None) -> None:
    """Raise MissingRequirement for the first of ``names`` that is not usable on this machine."""
    if not names:
        return
    if environment is None:
        from ..engines.environment import probe

        environment = probe()
    for name in names:
        found = environment.find(name)
        if found is not None and found.status == "usable":
            continue
        state = f"{found.status} ({found.detail})" if found is not None else "unknown"
        fix = found.fix if found is not None else "run attn2trt doctor"
        raise MissingRequirement(f"received --require {name}; expected it to be usable here, but it is {state}; {fix}")
