"""The versions of other packages that this one asks for, as its own metadata lists them, beside what is installed.

In a clone pyproject.toml itself is read: what pip noted when the clone was installed does not follow a later pull.
Nothing is imported to learn a version.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import MissingRequirement

if TYPE_CHECKING:
    from packaging.specifiers import SpecifierSet

PACKAGE = __package__.partition(".")[0]
PROJECT = Path(__file__).parents[1] / "pyproject.toml"
# of what every command computes with, a bundle's as well
BASE = ("numpy", "onnx", "onnx-ir", "onnxruntime-gpu", "onnxruntime")


@dataclass(frozen=True)
class Outside:
    """A package whose installed version is outside of the bounds.

    Attributes:
        package: Its name, as pip takes it.
        installed: The version that is installed.
        wanted: The package with its bounds, as ``torch>=2.11``.
    """

    package: str
    installed: str
    wanted: str


def outside(packages: Iterable[str]) -> tuple[Outside, ...]:
    """Return those of the packages, by their names for pip, that are installed in a version outside of our bounds.

    One that is absent, or whose version is unknown or no version, is left to whoever imports it.
    """
    return tuple(found for name in packages if (found := _outside(name)) is not None)


def why_outside(packages: Iterable[str]) -> str:
    """Return what is outside of our bounds, what is expected and the command that installs it; "" for nothing."""
    found = outside(packages)
    if not found:
        return ""
    received = ", ".join(f"{one.package} {one.installed}" for one in found)
    expected = ", ".join(one.wanted for one in found)
    return f"received {received}; expected {expected}; {install(found)}"


def install(packages: Iterable[Outside]) -> str:
    """Return the command that installs versions within the bounds."""
    return "pip install " + " ".join(f"'{one.wanted}'" for one in packages)


def require_within(*packages: str) -> None:
    """Raise MissingRequirement, with the command that mends it, if a package is installed outside of our bounds."""
    if why := why_outside(packages):
        raise MissingRequirement(why)


@cache
def _outside(package: str) -> Outside | None:
    from importlib.metadata import PackageNotFoundError, version

    bounds = _bounds().get(package)
    try:
        installed = version(package)
    except PackageNotFoundError:
        return None
    if bounds is None or _is_within(installed, bounds):
        return None
    return Outside(package, installed, f"{package}{bounds}")


def _is_within(installed: str, bounds: SpecifierSet) -> bool:
    """Tell if a version is within bounds; builds of a release before it is out, as NVIDIA's 2.11.0a0, count as it."""
    from packaging.version import InvalidVersion, Version

    try:
        return bounds.contains(Version(installed).base_version)
    except InvalidVersion:
        return True


@lru_cache(maxsize=1)
def _bounds() -> Mapping[str, SpecifierSet]:
    """Return the versions that are asked for by the package's name, whatever extra or machine asks for it."""
    from packaging.requirements import Requirement
    from packaging.specifiers import SpecifierSet
    from packaging.utils import canonicalize_name

    found: dict[str, SpecifierSet] = {}
    for text in _texts():
        one = Requirement(text)
        name = canonicalize_name(one.name)
        found[name] = found.get(name, SpecifierSet()) & one.specifier
    return found


def _texts() -> list[str]:
    if not PROJECT.is_file():
        from importlib.metadata import requires

        return requires(PACKAGE) or []
    toml: Any
    if sys.version_info >= (3, 11):
        import tomllib as toml
    else:
        import tomli as toml
    project = toml.loads(PROJECT.read_text(encoding="utf-8"))["project"]
    return [*project["dependencies"], *(text for extra in project["optional-dependencies"].values() for text in extra)]
