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
    torch.compile with its default options, anew for every input size; the first call of a size compiles. ``half_on`` is
    a device on which it computes in float16, maps channels last, compiled with max-autotune: PyTorch at its fastest.
    Outputs are float32 again.
    """

    def __init__(
        self,
        module: nn.Module,
        output_names: Sequence[str] = (),
        *,
        compiled: bool = False,
        half_on: str | None = None,
    ) -> None:
        import torch

        self.output_names = tuple(output_names)
        self._half = half_on is not None
        if half_on is not None:
            module = module.to(half_on, torch.float16).to(memory_format=torch.channels_last)
        self.module = module
        how = "torch.compile" if compiled else "eager"
        self.name = f"PyTorch {torch.__version__} ({how}{', float16, channels last' if self._half else ''})"
        mode = "max-autotune" if self._half else None
        self._forward: Callable[..., object] = torch.compile(module, dynamic=False, mode=mode) if compiled else module

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
        return {name: self._whole(leaf).cpu().numpy() for name, leaf in zip(names, leaves, strict=True)}

    def _whole(self, leaf: Tensor) -> Tensor:
        return leaf.float() if self._half and leaf.is_floating_point() else leaf

    def prepare(self, sets: Sequence[Arrays]) -> list[Callable[[], object]]:
        """One call for each of the ``sets`` of feeds: nothing but the module's own work on tensors that are there."""
        return [self._call(self._tensors(feeds)) for feeds in sets]

    def _call(self, tensors: tuple[Tensor, ...]) -> Callable[[], object]:
        import torch

        wait = torch.cuda.synchronize if any(tensor.is_cuda for tensor in tensors) else None

        def call() -> object:
            with torch.no_grad():
                found = self._forward(*tensors)
            if wait is not None:
                wait()
            return found

        return call

    def _tensors(self, feeds: Arrays) -> tuple[Tensor, ...]:
        import torch

        first = next(self.module.parameters(), None)
        device = first.device if first is not None else torch.device("cpu")
        return tuple(self._lowered(torch.from_numpy(value.copy()).to(device)) for value in feeds.values())

    def _lowered(self, tensor: Tensor) -> Tensor:
        import torch

        if not self._half or not tensor.is_floating_point():
            return tensor
        layout = torch.channels_last if tensor.ndim == 4 else torch.contiguous_format
        return tensor.half().to(memory_format=layout)


def computes_on_gpu() -> bool:
    """Whether this PyTorch finds a GPU that it can compute on."""
    import torch

    return torch.cuda.is_available()


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
