"""``--require``: end early, with the fix, where this machine lacks something."""

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
        found = next((part for part in environment.components if part.name.lower() == name), None)
        if found is None or found.status != "usable":
            status, detail, fix = (found.status, found.detail, found.fix) if found else ("missing", "", "")
            raise MissingRequirement(
                f"received --require {name}, which is {status} here ({detail or 'not found'}); "
                f"{fix or 'run attn2trt doctor for what this machine has'}"
            )
