"""The versions of the packages that a bundle depends on."""

from __future__ import annotations

from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version

PACKAGES = (
    *("torch", "timm", "onnx", "onnx-ir", "onnxscript", "onnxsim", "onnxruntime-gpu", "onnxruntime", "numpy"),
    *("pillow", "nvidia-modelopt"),
    *("tensorrt-rtx", "tensorrt", "tensorrt-cu12", "tensorrt-cu13"),
)


def package_versions() -> dict[str, str]:
    """Return the version of each that is installed, by name. They are looked for once."""
    return dict(_found())


@lru_cache(maxsize=1)
def _found() -> dict[str, str]:
    found = {}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
