"""PyTorch, eager, as a runtime beside the others."""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType
from typing import TYPE_CHECKING

from ..errors import InputError
from .runtime import Arrays

if TYPE_CHECKING:
    from torch import nn


class TorchRuntime:
    """A module on its own device. Inputs go by position, in the order of the feeds; outputs in flattened order.

    ``output_names`` as in the graph; "output" or "output_0", … where empty.
    """

    def __init__(self, module: nn.Module, output_names: Sequence[str] = ()) -> None:
        import torch

        self.module = module
        self.output_names = tuple(output_names)
        self.name = f"PyTorch {torch.__version__} (eager)"

    def __enter__(self) -> TorchRuntime:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None

    def run(self, feeds: Arrays) -> Arrays:
        """Outputs by name. Raises InputError where there are more or fewer tensors than names."""
        import torch
        from torch.utils._pytree import tree_leaves

        first = next(self.module.parameters(), None)
        device = first.device if first is not None else torch.device("cpu")
        with torch.no_grad():
            result = self.module(*(torch.from_numpy(value.copy()).to(device) for value in feeds.values()))
        leaves = [leaf for leaf in tree_leaves(result) if isinstance(leaf, torch.Tensor)]
        names = self.output_names
        if not names:
            names = ("output",) if len(leaves) == 1 else tuple(f"output_{index}" for index in range(len(leaves)))
        if len(names) != len(leaves):
            raise InputError(f"the module returned {len(leaves)} tensors; expected {len(names)} ({', '.join(names)})")
        return {name: leaf.cpu().numpy() for name, leaf in zip(names, leaves, strict=True)}
