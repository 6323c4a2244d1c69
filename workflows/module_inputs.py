"""The inputs of a PyTorch module beside those of an ONNX file that claims to be it, matched by their order."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..errors import InputError

if TYPE_CHECKING:
    from torch import nn

_BY_PLACE = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


def require_inputs(module: nn.Module, names: Sequence[str], file: str) -> None:
    """Raise InputError unless ``forward`` takes as many inputs as the file has; the message has both by name."""
    parameters = list(inspect.signature(module.forward).parameters.values())
    if any(parameter.kind is inspect.Parameter.VAR_POSITIONAL for parameter in parameters):
        return
    taken = [parameter for parameter in parameters if parameter.kind in _BY_PLACE]
    needed = [parameter for parameter in taken if parameter.default is inspect.Parameter.empty]
    if len(needed) <= len(names) <= len(taken):
        return
    raise InputError(
        f"received {file} with the inputs {', '.join(names)}, and {type(module).__name__}.forward takes "
        f"{', '.join(parameter.name for parameter in taken) or 'none'}; expected as many, in the same order; name "
        "another module with --against"
    )
