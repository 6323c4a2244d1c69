"""``--keep-fp32``: the modules, or the nodes of a graph without modules, that a user keeps in float32."""

from __future__ import annotations

import fnmatch
from collections.abc import Callable, Iterable, Sequence

from ..core.graph import OnnxGraph
from ..core.module_path import is_within
from ..core.nearest import nearest
from ..errors import InputError
from ..modules.grammar import steps_match

BY_PATTERN = "--keep-fp32"


def matching(patterns: Sequence[str], modules: Iterable[str]) -> tuple[str, ...]:
    """The module paths, and paths of modules around them, that a pattern matches; a pattern without one is an error.

    ``*`` stands for anything within one step of a path, ``**`` for any steps.
    """
    paths: dict[str, None] = {}
    for path in modules:
        steps = path.split(".") if path else []
        paths |= dict.fromkeys(".".join(steps[:end]) for end in range(1, len(steps) + 1))
    found: dict[str, None] = {}
    for pattern in patterns:
        here = [path for path in paths if steps_match(path.split("."), pattern.split("."))]
        if not here:
            have = f"it has {', '.join(sorted(paths)[:5])}" + ", …" * (len(paths) > 5) if paths else "it has none"
            raise InputError(
                f"received --keep-fp32 {pattern!r}, which no module of the graph has; expected a module path or a "
                f"glob; {nearest(pattern, paths, have)}"
            )
        found |= dict.fromkeys(here)
    return tuple(found)


def kept_in(graph: OnnxGraph, patterns: Sequence[str]) -> tuple[str, ...]:
    """Return the paths of modules that a pattern matches or, in a graph without modules, the names of nodes.

    In the name of a node ``*`` stands for anything. Raises InputError for a pattern without a match.
    """
    if graph.modules or not patterns:
        return matching(patterns, graph.module_paths)
    import onnx

    names = [node.name for node in onnx.load(str(graph.path), load_external_data=False).graph.node]
    found: dict[str, None] = {}
    for pattern in patterns:
        here = fnmatch.filter(names, pattern)
        if not here:
            have = f"it has {', '.join(names[:5])}" + ", …" * (len(names) > 5)
            raise InputError(
                f"received --keep-fp32 {pattern!r}, which no node of the graph has; expected the name of a node or a "
                f"glob; {nearest(pattern, names, have)}"
            )
        found |= dict.fromkeys(here)
    return tuple(found)


def why_kept(graph: OnnxGraph, within: Sequence[str]) -> Callable[[str], str]:
    """Return what says why a node stays in float32, by its name: it came from one of the modules ``within``, or from
    inside one, or it is one of them in a graph without modules."""
    if not graph.modules:
        nodes = {*within}
        return lambda node: BY_PATTERN if node in nodes else ""
    return lambda node: BY_PATTERN if any(is_within(path, within) for path in graph.modules_of(node)) else ""
