"""PyTorch, eager or compiled, as a runtime beside the others; and weights on their way from process to process."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from ..errors import InputError
from .runtime import Arrays
from .torch_cuda import CudaCalls

if TYPE_CHECKING:
    from torch import Tensor, nn


class TorchRuntime:
    """A module. Inputs go by position, in the order of the feeds; outputs in flattened order, in float32.

    Args:
        module: Is moved to ``device``, and changed to float16 if ``half``.
        output_names: As in the graph; "output" or "output_0", ... if empty.
        compiled: Run it through torch.compile, anew for every input size; the first call of a size compiles. On a GPU
            with max-autotune, without the CUDA graphs of its own that ``graphed`` asks for.
        device: "cuda" or "cpu"; the module's own device if None.
        half: Compute in float16, maps channels last.
        graphed: Have what ``prepare`` makes launch a CUDA graph in place of kernel after kernel.

    Raises:
        InputError: ``graphed`` on another device than a GPU.
    """

    def __init__(
        self,
        module: nn.Module,
        output_names: Sequence[str] = (),
        *,
        compiled: bool = False,
        device: str | None = None,
        half: bool = False,
        graphed: bool = False,
    ) -> None:
        import torch

        first = next(module.parameters(), None)
        own = first.device if first is not None else torch.device("cpu")
        self._device = own if device is None else torch.device(device)
        on_gpu = self._device.type == "cuda"
        if graphed and not on_gpu:
            raise InputError(f"received a CUDA graph on {self._device}; expected the device cuda; leave one out")
        if on_gpu and not half:
            _leave_tf32()
        if device is not None:
            module = module.to(self._device)
        if half:
            module = module.to(torch.float16).to(memory_format=torch.channels_last)
        self.output_names, self.module = tuple(output_names), module
        self._half, self._on_gpu, self._graphed = half, on_gpu, graphed
        self._cuda: CudaCalls | None = None
        words = [
            "torch.compile" if compiled else "eager",
            *["float16, channels last"] * half,
            *["CUDA graph"] * graphed,
        ]
        self.name = f"PyTorch {torch.__version__} ({', '.join(words)})"
        mode = "max-autotune-no-cudagraphs" if on_gpu else None
        self._forward: Callable[..., object] = torch.compile(module, dynamic=False, mode=mode) if compiled else module

    def __enter__(self) -> TorchRuntime:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None

    def run(self, feeds: Arrays) -> Arrays:
        """Outputs by name. Raises InputError if there are more or fewer tensors than names."""
        import torch
        from torch.utils._pytree import tree_leaves

        result = self._compute(self._tensors(feeds))
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
        """One call for each of the ``sets`` of feeds: nothing but the module's own work on tensors that are there.

        On a GPU a call returns when the outputs are there; ``take_device_times`` has what the device itself took.
        Raises CheckFailed if a CUDA graph of the module computes something else than the module.
        """
        forwards = [partial(self._compute, self._tensors(feeds)) for feeds in sets]
        if not self._on_gpu:
            return list(forwards)
        self._cuda = CudaCalls(graphed=self._graphed)
        return [self._cuda.call(forward) for forward in forwards]

    def take_device_times(self) -> list[int]:
        """Nanoseconds that the GPU took of each call of ``prepare`` since this was asked last; none on a CPU."""
        return [] if self._cuda is None else self._cuda.take_times()

    def _compute(self, tensors: tuple[Tensor, ...]) -> object:
        import torch

        with torch.no_grad():
            return self._forward(*tensors)

    def _tensors(self, feeds: Arrays) -> tuple[Tensor, ...]:
        import torch

        return tuple(self._lowered(torch.from_numpy(value.copy()).to(self._device)) for value in feeds.values())

    def _lowered(self, tensor: Tensor) -> Tensor:
        import torch

        if not self._half or not tensor.is_floating_point():
            return tensor
        layout = torch.channels_last if tensor.ndim == 4 else torch.contiguous_format
        return tensor.half().to(memory_format=layout)


def _leave_tf32() -> None:
    """Have PyTorch and what it compiles compute float32 in float32: convolutions are in tf32 by default.

    The environment's NVIDIA_TF32_OVERRIDE reaches cuBLAS and cuDNN, not the kernels that torch.compile generates.
    """
    import torch

    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False


def computes_on_gpu() -> bool:
    """Return True if this PyTorch finds a GPU that it can compute on."""
    import torch

    return torch.cuda.is_available()


def set_threads(count: int) -> None:
    """Return how many threads one operator of PyTorch computes with, in this process."""
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
