"""Run a command's work with PyTorch's default device on the CPU and outside of inference mode, whatever a notebook has
set, and in one thread."""

from __future__ import annotations

import functools
import os
import sys
import threading
from collections.abc import Callable
from contextlib import ExitStack
from typing import ParamSpec, TypeVar

Given = ParamSpec("Given")
Result = TypeVar("Result")

_turn = threading.RLock()  # PyTorch traces with modes that all threads share


def _new_turn() -> None:
    global _turn  # noqa: PLW0603 - in a copy of the process, no thread is left that would give it back
    _turn = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_new_turn)


def on_cpu(verb: Callable[Given, Result]) -> Callable[Given, Result]:
    """Have ``verb`` make tensors on the CPU, as its copy of a module is there; PyTorch is not imported for that.

    They are no inference tensors, which cannot be traced. Calls of several threads take turns.
    """

    @functools.wraps(verb)
    def called(*arguments: Given.args, **keywords: Given.kwargs) -> Result:
        with _turn, ExitStack() as stack:
            torch = sys.modules.get("torch")
            if torch is not None and torch.get_default_device().type != "cpu":
                stack.enter_context(torch.device("cpu"))
            if torch is not None and torch.is_inference_mode_enabled():
                stack.enter_context(torch.inference_mode(False))
            return verb(*arguments, **keywords)

    return called
