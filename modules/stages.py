"""The stage of a backbone that a module belongs to, by the module's path alone."""

from __future__ import annotations

import re
from collections.abc import Iterable

_NUMBERED = re.compile(r"(?:layer|stage|stages_|block|blocks_|inception_)\d+")
_OUTSIDE = ("stem", "conv", "bn", "norm", "head", "classifier", "fc")
STEM, HEAD = "stem", "head"


def stage_of(path: str) -> str:
    """``layer1`` of ``layer1.0.conv2``, ``blocks.3`` of ``blocks.3.0.conv_pw``; "" before, between and after stages."""
    # feature maps are taken from a model inside
    first, *rest = path.removeprefix("model.").split(".")
    if found := _NUMBERED.match(first):
        return found[0]
    if rest and not first.startswith(_OUTSIDE) and rest[0].isdigit():
        return f"{first}.{rest[0]}"
    return ""


def stages_in_order(paths: Iterable[str]) -> dict[str, str]:
    """The stage of every path; what stands in none is the ``stem`` before the first one, the ``head`` after it.

    ``paths`` come in the order in which the modules run.
    """
    found: dict[str, str] = {}
    seen = False
    for path in paths:
        stage = stage_of(path)
        seen = seen or bool(stage)
        found.setdefault(path, stage or (HEAD if seen else STEM))
    return found
