"""The files of a folder that are part of it by being there."""

from __future__ import annotations

import pkgutil
from importlib import import_module
from types import ModuleType


def files_of(package: str) -> list[ModuleType]:
    """Return the files of a package by their names, imported. Its sub-folders are left out."""
    found = pkgutil.iter_modules(import_module(package).__path__)
    return [import_module(f"{package}.{file.name}") for file in found if not file.ispkg]
