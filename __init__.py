"""attn2trt: vision attention models from PyTorch to ONNX to TensorRT, each step checked against PyTorch in float64."""

from __future__ import annotations

from importlib.metadata import version as _version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .core.bundle import Bundle as Bundle
    from .core.bundle import open_bundle as open_bundle
    from .modules.catalog import build as build
    from .workflows.benchmark import benchmark as benchmark
    from .workflows.cost import cost as cost
    from .workflows.deploy import deploy as deploy

__all__ = ["Bundle", "__version__", "benchmark", "build", "cost", "deploy", "open_bundle"]
__version__ = _version("attn2trt")

# Loaded on first use, so that `import attn2trt` and `attn2trt --help` touch neither torch nor onnx.
_HOME = {
    "Bundle": ".core.bundle",
    "benchmark": ".workflows.benchmark",
    "build": ".modules.catalog",
    "cost": ".workflows.cost",
    "deploy": ".workflows.deploy",
    "open_bundle": ".core.bundle",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOME[name], __name__), name)
