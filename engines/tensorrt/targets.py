"""Compute capabilities that a plan is built for: how a user names them, and the precisions that each computes."""

from __future__ import annotations

import re
from collections.abc import Sequence

from ...core.precision import PRECISIONS
from ...errors import InputError
from .flavours import Flavour, sm

DEFAULT = "sm86,sm89,sm120"
NONE = "none"


def parse_targets(text: str, flavour: Flavour) -> tuple[str, ...]:
    """Read ``sm86,sm120`` as ``("8.6", "12.0")``, in ascending order; ``none`` as nothing.

    Raises InputError for what is no compute capability, for one that ``flavour`` does not build for, and for ``none``
    beside others.
    """
    if text.strip().lower() == NONE:
        return ()
    targets = read_targets(text, also=f", or {NONE} alone")
    flavour.require_targets(targets)
    return targets


def read_targets(text: str, *, also: str = "") -> tuple[str, ...]:
    """Read ``sm86,sm120`` as ``("8.6", "12.0")``, in ascending order.

    Raises InputError for what is no compute capability; its message names what the option takes ``also``.
    """
    names = [name.strip().lower() for name in text.split(",")]
    return tuple(sorted({_capability(name, text, also) for name in names}, key=float))


def split_targets(targets: Sequence[str], precision: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the targets that compute in the precision, and those that do not."""
    first = float(PRECISIONS[precision].first_capability)
    able = tuple(target for target in targets if float(target) >= first)
    return able, tuple(target for target in targets if target not in able)


def name_targets(targets: Sequence[str]) -> str:
    """Write ``("8.6", "12.0")`` as ``sm86, sm120``."""
    return ", ".join(map(sm, targets))


def _capability(name: str, text: str, also: str) -> str:
    found = re.fullmatch(r"(?:sm)?_?(\d+)\.?(\d)", name)
    if found is None:
        raise InputError(
            f"received --for {text}; expected compute capabilities such as {DEFAULT}{also}; correct {name!r}"
        )
    return f"{int(found[1])}.{found[2]}"
