"""Run a command's work with PyTorch's default device on the CPU, whatever a notebook has set."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from typing import ParamSpec, TypeVar

Given = ParamSpec("Given")
Result = TypeVar("Result")


def on_cpu(verb: Callable[Given, Result]) -> Callable[Given, Result]:
    """Have ``verb`` make tensors on the CPU, as its copy of a module is there; PyTorch is not imported for that."""

    @functools.wraps(verb)
    def called(*arguments: Given.args, **keywords: Given.kwargs) -> Result:
        torch = sys.modules.get("torch")
        if torch is None or torch.get_default_device().type == "cpu":
            return verb(*arguments, **keywords)
        with torch.device("cpu"):
            return verb(*arguments, **keywords)

    return called
