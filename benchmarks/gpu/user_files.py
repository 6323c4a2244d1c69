"""Prepare what a command works on: copies of bundles, and copies that are damaged or belong to another machine."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from attn2trt.core.manifest import MANIFEST, manifest_text

Prepare = Callable[[Path], None]
SIZE = 64


def copied(source: str, to: str) -> Prepare:
    """Copy a bundle, as a user carries it to the machine with the GPU."""

    def prepare(folder: Path) -> None:
        shutil.rmtree(folder / to, ignore_errors=True)
        shutil.copytree(folder / source, folder / to)

    return prepare


def flipped(source: str, to: str) -> Prepare:
    """Copy a bundle, and flip one bit in the middle of its plan."""

    def prepare(folder: Path) -> None:
        copied(source, to)(folder)
        plan = plan_of(folder / to)
        content = bytearray(plan.read_bytes())
        content[len(content) // 2] ^= 1
        plan.write_bytes(content)

    return prepare


def edited(source: str, to: str, change: Mapping[str, Any]) -> Prepare:
    """Copy a bundle, and write other facts about its plan into a manifest whose own hash is right."""

    def prepare(folder: Path) -> None:
        copied(source, to)(folder)
        file = folder / to / MANIFEST
        manifest = json.loads(file.read_text(encoding="utf-8"))
        manifest["plans"] = [{**plan, **change} for plan in manifest["plans"]]
        file.write_text(manifest_text(manifest), encoding="utf-8")

    return prepare


def cut(source: str, to: str) -> Prepare:
    """Copy the first half of a file."""

    def prepare(folder: Path) -> None:
        content = (folder / source).read_bytes()
        (folder / to).write_bytes(content[: len(content) // 2])

    return prepare


def without(place: str) -> Prepare:
    """Remove what an earlier try has left there."""

    def prepare(folder: Path) -> None:
        path = folder / place
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
        path.parent.mkdir(parents=True, exist_ok=True)

    return prepare


def images(to: str, name: str, count: int) -> Prepare:
    """Write a data set of so many arrays for the input of this name."""

    def prepare(folder: Path) -> None:
        (folder / to).parent.mkdir(parents=True, exist_ok=True)
        values = np.random.default_rng(0).standard_normal((count, 3, SIZE, SIZE))
        np.savez(folder / to, **{name: values.astype(np.float32)})

    return prepare


def plan_of(bundle: Path) -> Path:
    """The only plan of a bundle."""
    (plan,) = json.loads((bundle / MANIFEST).read_text(encoding="utf-8"))["plans"]
    return bundle / str(plan["file"])
