"""The common part of deriving the lower precisions' limits: the loop over targets, worst ratios, and the machine."""

from __future__ import annotations

import argparse
import platform
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from importlib.metadata import version
from itertools import repeat
from typing import Any

from attn2trt.validate.cases import Case
from attn2trt.validate.metrics import Reference
from attn2trt.validate.verdict import StageResult

WAYS = ("l2", "max", "channel", "absolute")
# name: shape, axes, seeds of the weights, seeds of the cases
Targets = Mapping[str, tuple[str, str, int, int]]
Row = dict[str, Any]


def arguments(about: str | None) -> argparse.ArgumentParser:
    """The options of every derivation."""
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("targets", nargs="*", help="default: all, and the result is stored")
    parser.add_argument("--jobs", type=int, default=2, help="exports at a time (default: 2)")
    return parser


def rows_of(
    targets: Targets,
    options: argparse.Namespace,
    measured: Callable[..., Row],
    line: Callable[[str, Row], str],
    *more: object,
) -> dict[str, list[Row]]:
    """``measured(name, seed, *more)`` for every seed of the targets' weights, each printed by ``line`` at once."""
    names = options.targets or list(targets)
    if unknown := [name for name in names if name not in targets]:
        sys.exit(f"received {unknown[0]}; expected some of {', '.join(targets)}; correct the name")
    work = [(name, seed) for name in names for seed in range(targets[name][2])]
    rows: dict[str, list[Row]] = {name: [] for name in names}
    with ProcessPoolExecutor(options.jobs) as pool:
        found = pool.map(measured, *zip(*work, strict=True), *map(repeat, more))
        for (name, _), row in zip(work, found, strict=False):  # what is repeated has no end
            rows[name].append(row)
            print(line(name, row), flush=True)
    return rows


def usual(sets: Iterable[Iterable[tuple[Case, Reference]]]) -> Iterator[tuple[Case, Reference]]:
    """The cases with ordinary inputs: random ones, and photographs."""
    return ((case, reference) for pairs in sets for case, reference in pairs if case.kind in ("normal", "image"))


def worst(stages: Iterable[StageResult], way: str) -> float:
    """The largest ratio that was decided this way."""
    found = [one.ratio for stage in stages for _, one in stage.comparisons if one.which == way]
    return max(found, default=0.0)


def here() -> dict[str, Any]:
    """The machine, and the versions that ratios depend on."""
    return {
        "machine": f"{platform.machine()}, {platform.system()}, CPU",
        "versions": {name: version(name) for name in ("torch", "timm", "onnx", "onnxruntime-gpu", "numpy")},
    }
