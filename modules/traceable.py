"""Modules that cannot be traced, TorchScript, weights without a shape or for inference alone, and exported programs."""

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
        for name, tensor in (*part.named_parameters(recurse=False), *part.named_buffers(recurse=False)):
            if torch.nn.parameter.is_lazy(tensor):
                raise ModuleRefused(
                    f"received {f'{path}.{name}'.lstrip('.')} of a {type(part).__name__}{at}, whose shape its first "
                    "input decides; expected weights that have one; return the module after a call on an example"
                )
            if tensor.is_inference():
                raise ModuleRefused(
                    f"received {f'{path}.{name}'.lstrip('.')}, which was made in torch.inference_mode(){at}; expected "
                    "weights that can be traced; make the module outside of that block"
                )


def accept_eval(module: nn.Module) -> nn.Module:
    """Return ``module``, whose programs of torch.export now take ``eval()``.

    Such a program refuses it, since it stays in the mode in which it was exported.
    """
    import torch

    for part in module.modules():
        if isinstance(part, torch.fx.GraphModule):
            for name in ("train", "eval"):
                vars(part).pop(name, None)
    return module
