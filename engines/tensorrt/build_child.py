"""The child process that builds a plan: one order from stdin, one answer on stdout."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ...core.tensor_spec import Axis, TensorSpec
from ..child import answer_first
from .build import BuildOptions, BuildOrder, build
from .profiles import Profile

PATHS = ("graph", "plan", "log", "cache", "layers")


def main() -> None:
    """Build what the first message orders."""
    answer_first(lambda message: build(order_from_json(message)))


def order_to_json(order: BuildOrder) -> dict[str, Any]:
    """An order as a message."""
    return {
        **{name: str(getattr(order, name)) for name in PATHS},
        "inputs": [spec.to_json() for spec in order.inputs],
        "profiles": [{name: asdict(axis) for name, axis in profile.axes.items()} for profile in order.profiles],
        "modules": dict(order.modules),
        "options": asdict(order.options),
        "precision": order.precision,
        "weakly_typed": order.weakly_typed,
        "io": order.io,
        "flavour": order.flavour,
        "targets": [*order.targets],
        "known_cache": order.known_cache and str(order.known_cache),
        "known_sha256": order.known_sha256,
        "more_caches": [[str(path), sha256] for path, sha256 in order.more_caches],
    }


def order_from_json(message: Mapping[str, Any]) -> BuildOrder:
    """The inverse of order_to_json."""
    options = {**message["options"], "without_tactics": tuple(message["options"]["without_tactics"])}
    return BuildOrder(
        **{name: Path(message[name]) for name in PATHS},
        inputs=tuple(TensorSpec.from_json(entry) for entry in message["inputs"]),
        profiles=tuple(Profile({name: Axis(**axis) for name, axis in entry.items()}) for entry in message["profiles"]),
        modules=message["modules"],
        options=BuildOptions(**options),
        precision=str(message["precision"]),
        weakly_typed=bool(message["weakly_typed"]),
        io=str(message["io"]),
        flavour=str(message["flavour"]),
        targets=tuple(message["targets"]),
        known_cache=message["known_cache"] and Path(message["known_cache"]),
        known_sha256=str(message["known_sha256"]),
        more_caches=tuple((Path(path), str(sha256)) for path, sha256 in message["more_caches"]),
    )
