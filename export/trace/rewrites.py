"""Replace calls that torch.onnx exports wrongly or not at all with dynamic sizes, while a module is traced.

A rewrite is found by the function that is called, never by the module that calls it. Each file beside this one holds
one idea and maps functions to their argument names and rewrite in a table.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any

from torch.overrides import TorchFunctionMode

from .calls import Rewrite, bound

_FILES = (
    "arctangents",
    "attention",
    "chunks",
    "clamped",
    "convolution",
    "cross_entropy",
    "distances",
    "extremes",
    "folding",
    "fourier",
    "grids",
    "leaky",
    "linear_algebra",
    "normalisation",
    "ordered",
    "pooling",
    "quantisers",
    "remainder",
    "rolling",
    "running",
    "scattering",
    "sequences",
    "size_tensors",
    "squeezed",
    "taken",
    "transposed",
    "value_checks",
)
REWRITES: dict[Any, tuple[tuple[str, ...], Rewrite]] = {
    function: entry for file in _FILES for function, entry in import_module(f".{file}", __package__).REWRITES.items()
}


class SizeIndependentCalls(TorchFunctionMode):
    """While active, calls whose exported form depends on the traced size are computed in one that holds at any."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        options = dict(kwargs or {})
        if func in REWRITES and "out" not in options:
            names, rewrite = REWRITES[func]
            replaced = rewrite(bound(names, args, options))
            if replaced is not None:
                return replaced
        return func(*args, **options)
