"""torch.autocast inside of a module: found while the module runs, and refused with its line.

Under it eager PyTorch computes in half precision what is judged in float32 against float64, and torch.onnx writes its
casts into a graph that no opset of ours can hold.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from ...errors import ModuleRefused
from ...modules.user_line import frames, line_of

DEVICE = "cpu"  # the module runs there: its settings for other devices are without effect


class RefusedAutocast(TorchFunctionMode):
    """While active, raise ModuleRefused for the first call of torch under torch.autocast."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self._name = name
        self._is_around = torch.is_autocast_enabled(DEVICE)

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        if torch.is_autocast_enabled(DEVICE):
            line = line_of(frames())
            block = "a torch.autocast block around the whole deployment" if self._is_around else "torch.autocast"
            raise ModuleRefused(
                f"{self._name} computes under {block}{f' at {line}' if line else ''}; expected float32; remove the "
                "block or give it enabled=False, and lower the graph with --precision fp32,bf16"
            )
        return func(*args, **(kwargs or {}))
