"""A compiled plugin on its way into TensorRT: only the library whose hash is listed is loaded."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ....core.input_path import require_readable
from ....core.typed_json import parsed
from ....errors import CheckFailed, InputError
from ..versions import Version
from .build import ABOUT, LIBRARY

MOST_BYTES = 1 << 20  # of plugin.json


@dataclass(frozen=True)
class PluginLibrary:
    """The library of a folder, with the hash that ``plugin.json`` there lists, and the TensorRT that it is for."""

    path: Path
    sha256: str
    tensorrt: Version

    def to_json(self) -> dict[str, str]:
        """Return every field by name, as plain data."""
        return {"path": str(self.path), "sha256": self.sha256}


def read_plugin(folder: Path) -> PluginLibrary:
    """Return the library of a folder that ``attn2trt plugin`` wrote.

    Raises InputError if it is no such folder, CheckFailed if its library is not the one that is listed.
    """
    require_readable(folder, "a folder that attn2trt plugin wrote", option="--plugin", kind="folder")
    try:
        with (folder / ABOUT).open("rb") as stream:
            about = parsed(stream.read(MOST_BYTES))
        sha256 = str(about["files"][LIBRARY]["sha256"])
        version = Version(*map(int, str(about["tensorrt"]).split(".")))
    except (OSError, ValueError, KeyError, TypeError):
        raise InputError(
            f"received --plugin {folder}; expected a folder that attn2trt plugin wrote, with {ABOUT}; build it again"
        ) from None
    path = (folder / LIBRARY).absolute()
    _listed(path, sha256)
    return PluginLibrary(path, sha256, version)


def load_plugin(trt: Any, path: Path, sha256: str) -> None:
    """Have TensorRT load a library, for as long as this process lives.

    The file is read once: what is loaded is a copy in memory of the bytes that were hashed.

    Raises CheckFailed if they are not those of the hash, or TensorRT does not load them.
    """
    content = _listed(path, sha256)
    descriptor = os.memfd_create("attn2trt-plugin")
    with os.fdopen(os.dup(descriptor), "wb") as stream:
        stream.write(content)
    registry = trt.get_plugin_registry()
    if registry.load_library(f"/proc/self/fd/{descriptor}") is None:
        raise CheckFailed(f"TensorRT {trt.__version__} does not load {path}; build it with the headers of that version")


def _listed(path: Path, sha256: str) -> bytes:
    content = path.read_bytes() if path.is_file() else b""
    if hashlib.sha256(content).hexdigest() != sha256:
        raise CheckFailed(f"{path} is not the file that {ABOUT} lists; build it again with attn2trt plugin")
    return content
