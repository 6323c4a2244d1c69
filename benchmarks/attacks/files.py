"""Change bytes of a bundle: hashed files and the manifest."""

from __future__ import annotations

import contextlib
import itertools
import json
from pathlib import Path
from typing import Any

from attacks.product import MANIFEST, MODEL, REFERENCE
from attacks.record import Row, Scene

FILES = (MODEL, REFERENCE, "infer.py")


def damage(scene: Scene, path: Path, how: str) -> None:
    """Flip one bit of a file, or cut its end off."""
    content = bytearray(path.read_bytes())
    at = scene.random.randrange(len(content))
    if how == "flip":
        bit = scene.random.randrange(8)
        content[at] ^= 1 << bit
        scene.note(f"flip bit {bit} of byte {at} of {path.name}")
    else:
        del content[at:]
        scene.note(f"truncate {path.name} to {at} bytes")
    path.write_bytes(content)


def file_damage(scene: Scene, variation: tuple[str, str]) -> None:
    """Damage a hashed file: ``verify`` and ``validate`` both fail."""
    name, how = variation
    damage(scene, scene.bundle() / name, how)
    scene.expect(scene.run("verify", "out/se"), {1}, "verify")
    scene.expect(scene.run("validate", "out/se"), {1}, "validate")


def manifest_damage(scene: Scene, how: str) -> None:
    """Damage bundle.json: ``verify`` fails unless the JSON is the same; nothing crashes."""
    manifest = scene.bundle() / MANIFEST
    before = json.loads(manifest.read_bytes())
    damage(scene, manifest, how)
    after: Any = None
    with contextlib.suppress(ValueError, RecursionError):
        after = json.loads(manifest.read_bytes())
    scene.expect(scene.run("verify", "out/se"), {0} if after == before else {1, 2}, "verify")
    scene.expect(scene.run("validate", "out/se"), {0} if after == before else {0, 1, 2}, "validate")


ROWS = (
    Row("file flips", [*itertools.product(FILES, ("flip", "flip", "flip", "truncate"))], file_damage),
    Row("manifest flips", ["flip"] * 7 + ["truncate"], manifest_damage),
)
