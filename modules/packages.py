"""The packages that the way from PyTorch to ONNX needs; a machine that only runs bundles has none of them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from importlib import import_module
from importlib.util import find_spec

from ..core import bounds
from ..errors import MissingRequirement

EXPORT = {"PyTorch": "torch", "timm": "timm", "onnxscript": "onnxscript", "onnxsim": "onnxsim"}
# what it takes to build a module
PYTORCH = ("torch", "timm")
INSTALL_EXPORT = f"pip install {' '.join(EXPORT.values())}"


def require(packages: Iterable[str] = EXPORT.values()) -> None:
    """Raise MissingRequirement, with the command that mends it, if a package is not installed or is too old."""
    wanted = tuple(packages)
    if package := _absent(wanted):
        raise MissingRequirement(
            f"received a PyTorch target; expected {package}, which is not installed; {INSTALL_EXPORT}"
        )
    bounds.require_within(*wanted, *bounds.BASE)


def why_not() -> str:
    """Return why no module can be exported with the packages that are here; "" if it can be tried."""
    wanted = EXPORT.values()
    if package := _absent(wanted):
        return f"{package} is not installed here; {INSTALL_EXPORT}"
    return bounds.why_outside((*wanted, *bounds.BASE))


def _absent(packages: Iterable[str]) -> str:
    return next((package for package in packages if find_spec(package) is None), "")


def load() -> None:
    """Import what every export needs, as far as it is installed, so that child processes find it there."""
    for name in ("torch", "timm", "torch.export", "torch.onnx", "onnxscript"):
        with contextlib.suppress(ImportError):
            import_module(name)
