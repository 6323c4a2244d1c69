"""Values, documents and edits that no command writes into a manifest."""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from attn2trt.core.manifest import MANIFEST, manifest_text

VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1, 2**70, 1.5, float("nan"), float("inf")),
    *("", "text", "batch", "1", "../x", "0" * 64, [], [None], [1], ["text"], {}, {"text": None}, {"text": 1}, {"": []}),
)
MISSING = object()
HOSTILE = ("1" * 5000, "[" * 100_000, '{"format": 1, "format": 1}', '"\\ud800"', "1e999", "-", "\x00")


def edit(bundle: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change the manifest of a bundle, and have its own hash be right."""
    manifest = json.loads((bundle / MANIFEST).read_text())
    change(manifest)
    (bundle / MANIFEST).write_text(manifest_text(manifest))


def list_as_it_is(bundle: Path, name: str) -> None:
    """Have the manifest list the hash of a file as it now is."""
    digest = hashlib.sha256((bundle / name).read_bytes()).hexdigest()
    edit(bundle, lambda manifest: manifest["files"][name].update(sha256=digest))


def places(value: Any) -> Iterator[tuple[Any, ...]]:
    """The path of everything in the document."""
    for key in value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ():
        yield (key,)
        yield from ((key, *rest) for rest in places(value[key]))


def replaced(document: dict[str, Any], path: tuple[Any, ...], value: Any) -> dict[str, Any]:
    """The document with another value at the path, or without the entry."""
    changed = copy.deepcopy(document)
    holder = changed
    for key in path[:-1]:
        holder = holder[key]
    if value is MISSING:
        del holder[path[-1]]
    else:
        holder[path[-1]] = value
    return changed
