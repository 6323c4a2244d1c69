"""The common part of deriving the lower precisions' limits: the loop over targets, worst ratios, and the machine."""

from __future__ import annotations

import argparse
import json
import platform
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from code_hash import code_hash
from stored_results import side_by_side

from attn2trt.validate.cases import Case
from attn2trt.validate.metrics import Reference
from attn2trt.validate.verdict import StageResult

WAYS = ("l2", "max", "channel", "absolute")
ROOMS = ("core", "modules", "export", "engines", "validate", "workflows")
# name: shape, axes, seeds of the weights, seeds of the cases
Targets = Mapping[str, tuple[str, str, int, int]]
Row = dict[str, Any]


def arguments(about: str | None) -> argparse.ArgumentParser:
    """The options of every derivation."""
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("targets", nargs="*", help="default: all, and the result is stored")
    parser.add_argument("--jobs", type=int, default=2, help="exports at a time (default: 2)")
    parser.add_argument(
        "--keep", type=Path, metavar="FILE", help="put every row here, and take up an interrupted run of the same code"
    )
    return parser


def rows_of(
    targets: Targets,
    options: argparse.Namespace,
    measured: Callable[..., Row],
    line: Callable[[str, Row], str],
    *more: object,
) -> dict[str, list[Row]]:
    """``measured(name, seed, *more)`` for every seed of the targets' weights, each printed by ``line`` at once.

    A row that ``options.keep`` holds of the same code, versions and arguments is not measured again.
    """
    names = options.targets or list(targets)
    if unknown := [name for name in names if name not in targets]:
        sys.exit(f"received {unknown[0]}; expected some of {', '.join(targets)}; correct the name")
    origin = [code_hash(ROOMS), here(), *more]
    work = {
        json.dumps([name, seed, *targets[name], *origin]): (name, seed)
        for name in names
        for seed in range(targets[name][2])
    }
    kept: Row = json.loads(options.keep.read_text()) if options.keep and options.keep.exists() else {}
    missing = {key: one for key, one in work.items() if key not in kept}
    for key, row in side_by_side(keyed, [(key, measured, *one, *more) for key, one in missing.items()], options.jobs):
        kept[key] = row
        print(line(missing[key][0], row), flush=True)
        if options.keep:
            options.keep.write_text(json.dumps(kept))
    return {name: [kept[key] for key, one in work.items() if one[0] == name] for name in names}


def keyed(key: str, measured: Callable[..., Row], *args: object) -> tuple[str, Row]:
    """Return what is measured with its key."""
    return key, measured(*args)


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
