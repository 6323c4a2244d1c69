"""attn2trt: vision attention models from PyTorch to ONNX to TensorRT, each step checked against PyTorch in float64."""

from __future__ import annotations

from importlib.metadata import version as _version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .benchmarking import benchmark as benchmark
    from .costing import cost as cost
    from .export.bundle import Bundle as Bundle
    from .export.bundle import open_bundle as open_bundle
    from .modules.catalog import build as build
    from .pipeline import deploy as deploy

__all__ = ["Bundle", "__version__", "benchmark", "build", "cost", "deploy", "open_bundle"]
__version__ = _version("attn2trt")

# Loaded on first use, so that `import attn2trt` and `attn2trt --help` touch neither torch nor onnx.
_HOME = {
    "Bundle": ".export.bundle",
    "benchmark": ".benchmarking",
    "build": ".modules.catalog",
    "cost": ".costing",
    "deploy": ".pipeline",
    "open_bundle": ".export.bundle",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOME[name], __name__), name)
