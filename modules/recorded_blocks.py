"""The blocks of a bundle's model and their module paths, from its manifest alone: no PyTorch is needed for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import Any

from ..core.module_path import is_part_of_any
from ..errors import InputError
from . import blocks
from .block_index import block_names
from .grammar import Part, parse

_HOME = PurePath(*blocks.__name__.split(".")[-2:]).parts


def recorded_blocks(target: str, classes: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Return the name of the block at each module path, in the order in which they stand in the model.

    A block alone stands at the path "". A block of the user's own is known if it is a class.

    Args:
        target: The target's name, as ``resnet50+se``; empty for a model that no target names.
        classes: The manifest's entry of that name: every class of the model, its file, and the paths of its modules.
    """
    try:
        parsed = parse(target)
    except InputError:
        return {}
    if not parsed.insertions:
        return {"": parsed.base.name} if parsed.base.name in block_names() else {}
    found: dict[str, str] = {}
    for entry in classes:
        for part in parsed.insertions:
            if _is_of(entry, part):
                found.update(dict.fromkeys(entry["modules"], _title(part)))
    others = {path: [other for other in found if other != path] for path in found}
    return {path: name for path, name in found.items() if not is_part_of_any(path, others[path])}


def _is_of(entry: Mapping[str, Any], part: Part) -> bool:
    """Tell whether a class is the block of this part of a target."""
    if part.is_user_code:
        return str(entry["name"]) == _title(part)
    file = PurePath(str(entry["source"]).rpartition(":")[0].replace("\\", "/"))
    return file.stem == part.name and file.parts[-3:-1] == _HOME


def _title(part: Part) -> str:
    return part.name.rpartition(":")[2] if part.is_user_code else part.name
