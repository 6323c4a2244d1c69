"""Modules that cannot be traced: TorchScript, programs of torch.export, and weights made for inference alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..errors import ModuleRefused

if TYPE_CHECKING:
    from torch import nn


def check_traceable(module: nn.Module, line: str = "") -> None:
    """Raise ModuleRefused if ``module`` or a part of it cannot be traced; ``line`` is where the user's code made it."""
    import torch

    for path, part in module.named_modules():
        place = f" in {path}" if path else ""
        at = f" at {line}" if line else ""
        if isinstance(part, torch.jit.ScriptModule):
            raise ModuleRefused(
                f"received a TorchScript module{place}{at}, made of {part.original_name}; expected Python; give the "
                f"nn.Module {part.original_name} itself, not what torch.jit.script, trace or load returned"
            )
        if isinstance(part, torch.fx.GraphModule) and "eval" in vars(part):
            raise ModuleRefused(
                f"received the module of a torch.export program{place}{at}; expected Python; give the nn.Module that "
                "was exported"
            )
        for name, tensor in (*part.named_parameters(recurse=False), *part.named_buffers(recurse=False)):
            if tensor.is_inference():
                raise ModuleRefused(
                    f"received {f'{path}.{name}'.lstrip('.')}, which was made in torch.inference_mode(){at}; expected "
                    "weights that can be traced; make the module outside of that block"
                )
