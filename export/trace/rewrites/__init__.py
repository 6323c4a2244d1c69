"""Replace calls that torch.onnx exports wrongly or not at all with dynamic sizes, while a module is traced.

A rewrite is found by the function that is called, never by the module that calls it. Each file beside this one holds
one idea, and is found by existing: ``REWRITES`` maps functions to their argument names and rewrite.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch._ops import HigherOrderOperator
from torch.overrides import TorchFunctionMode

from ....core.discovery import files_of
from .calls import Rewrite, bound

REWRITES: dict[Any, tuple[tuple[str, ...], Rewrite]] = {
    function: entry for file in files_of(__name__) for function, entry in getattr(file, "REWRITES", {}).items()
}


class SizeIndependentCalls(TorchFunctionMode):
    """While active, calls whose exported form depends on the traced size are computed in one that holds at any."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        options = dict(kwargs or {})
        if not torch.compiler.is_dynamo_compiling() and isinstance(func, HigherOrderOperator):
            args = tuple(self._active_in(item) if isinstance(item, torch.fx.GraphModule) else item for item in args)
        if func in REWRITES and "out" not in options:
            names, rewrite = REWRITES[func]
            replaced = rewrite(bound(names, args, options))
            if replaced is not None:
                return replaced
        try:
            return func(*args, **options)
        except ValueError as error:
            if func is not torch.Tensor.view:
                raise
            raise RuntimeError(*error.args) from error  # as without a trace: a module may catch it and reshape

    def _active_in(self, body: torch.fx.GraphModule) -> Callable[..., Any]:
        """Return ``body``, of ``torch.cond`` or a loop, with its calls rewritten: PyTorch runs it without modes."""

        def run(*operands: Any) -> Any:
            with self:
                return body(*operands)

        return run
