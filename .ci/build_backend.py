"""setuptools, but a wheel holds nothing that an earlier build left in ``build/``, as a block that was removed since."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from setuptools import build_meta
from setuptools.build_meta import *  # noqa: F403 - every other hook


def build_wheel(wheel_directory: str, config_settings: Any = None, metadata_directory: str | None = None) -> str:
    """Build a wheel in the current folder, as setuptools does, and return its name."""
    shutil.rmtree(Path("build/lib/attn2trt"), ignore_errors=True)
    return str(build_meta.build_wheel(wheel_directory, config_settings, metadata_directory))
