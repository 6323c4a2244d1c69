"""PyTorch, eager or compiled, as a runtime beside the others; and weights on their way from process to process."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from ..errors import InputError
from .runtime import Arrays

if TYPE_CHECKING:
    from torch import Tensor, nn


class TorchRuntime:
    """A module on its own device. Inputs go by position, in the order of the feeds; outputs in flattened order.

    ``output_names`` as in the graph; "output" or "output_0", … where empty. ``compiled`` runs it through
    torch.compile with its default options, anew for every input size; the first call of a size compiles.
    """

    def __init__(self, module: nn.Module, output_names: Sequence[str] = (), *, compiled: bool = False) -> None:
        import torch

        self.module = module
        self.output_names = tuple(output_names)
        self.name = f"PyTorch {torch.__version__} ({'torch.compile' if compiled else 'eager'})"
        self._forward: Callable[..., object] = torch.compile(module, dynamic=False) if compiled else module

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

        with torch.no_grad():
            result = self._forward(*self._tensors(feeds))
        leaves = [leaf for leaf in tree_leaves(result) if isinstance(leaf, torch.Tensor)]
        names = self.output_names
        if not names:
            names = ("output",) if len(leaves) == 1 else tuple(f"output_{index}" for index in range(len(leaves)))
        if len(names) != len(leaves):
            raise InputError(f"the module returned {len(leaves)} tensors; expected {len(names)} ({', '.join(names)})")
        return {name: leaf.cpu().numpy() for name, leaf in zip(names, leaves, strict=True)}

    def prepare(self, sets: Sequence[Arrays]) -> list[Callable[[], object]]:
        """One call for each of the ``sets`` of feeds: nothing but the module's own work on tensors that are there."""
        return [self._call(self._tensors(feeds)) for feeds in sets]

    def _call(self, tensors: tuple[Tensor, ...]) -> Callable[[], object]:
        import torch

        def call() -> object:
            with torch.no_grad():
                return self._forward(*tensors)

        return call

    def _tensors(self, feeds: Arrays) -> tuple[Tensor, ...]:
        import torch

        first = next(self.module.parameters(), None)
        device = first.device if first is not None else torch.device("cpu")
        return tuple(torch.from_numpy(value.copy()).to(device) for value in feeds.values())


def set_threads(count: int) -> None:
    """How many threads one operator of PyTorch computes with, in this process."""
    import torch

    torch.set_num_threads(count)


def save_weights(module: nn.Module, path: Path) -> None:
    """Write every parameter and buffer that the module's state holds."""
    import torch

    torch.save(module.state_dict(), path)


def load_weights(module: nn.Module, path: Path) -> nn.Module:
    """The module, ready to run, with what ``save_weights`` wrote; reads tensors and nothing that would run code."""
    import torch

    module.load_state_dict(torch.load(path, weights_only=True, map_location="cpu"))
    return module.eval().requires_grad_(False)
