"""PyTorch's calls on a GPU, timed by the GPU's own clock: kernel after kernel, or all of them as one CUDA graph."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..errors import CheckFailed

# PyTorch asks for a few calls on a side stream before a capture: libraries allocate and choose kernels in the first.
CALLS_BEFORE_CAPTURE = 3


class CudaCalls:
    """Calls whose kernels run on the current CUDA device. ``graphed`` captures each as a CUDA graph, once."""

    def __init__(self, *, graphed: bool = False) -> None:
        import torch

        cuda: Any = torch.cuda
        self._began, self._ended = cuda.Event(enable_timing=True), cuda.Event(enable_timing=True)
        # Graphs that are replayed in turn, and whose outputs nobody reads, share memory as plain calls do.
        self._pool = cuda.graph_pool_handle() if graphed else None
        self._kept: list[Callable[[], object]] = []
        self._times: list[int] = []

    def call(self, forward: Callable[[], object]) -> Callable[[], object]:
        """Return a call that returns when the outputs of ``forward`` are there.

        Raises CheckFailed if a CUDA graph of ``forward`` computes something else than ``forward`` itself.
        """
        from torch import cuda

        enqueue = forward if self._pool is None else self._captured(forward)

        def call() -> object:
            self._began.record()
            found = enqueue()
            self._ended.record()
            cuda.synchronize()
            self._times.append(round(self._began.elapsed_time(self._ended) * 1e6))  # from milliseconds
            return found

        return call

    def take_times(self) -> list[int]:
        """Return the nanoseconds between the events around each call since this was asked last."""
        found, self._times = self._times, []
        return found

    def _captured(self, forward: Callable[[], object]) -> Callable[[], object]:
        import torch

        cuda: Any = torch.cuda
        side, current = cuda.Stream(), cuda.current_stream()
        side.wait_stream(current)
        expected: object = None
        with cuda.stream(side):
            for _ in range(CALLS_BEFORE_CAPTURE):
                expected = forward()
        current.wait_stream(side)
        graph = cuda.CUDAGraph()
        with cuda.graph(graph, pool=self._pool):
            found = forward()
        graph.replay()
        cuda.synchronize()
        if not _agree(found, expected):
            raise CheckFailed("the module as a CUDA graph computes something else than the module; time it without one")
        # Every replay reads the inputs that ``forward`` holds.
        self._kept.append(forward)
        replay: Callable[[], object] = graph.replay
        return replay


def _agree(found: object, expected: object) -> bool:
    """Return True if two results are equal but for the order in which a kernel may sum up."""
    import torch
    from torch.utils._pytree import tree_leaves

    pairs = list(zip(_tensors(tree_leaves(found)), _tensors(tree_leaves(expected)), strict=True))
    return all(
        torch.allclose(one.double(), other.double(), rtol=1e-2, atol=1e-3 * _largest(other), equal_nan=True)
        for one, other in pairs
    )


def _tensors(leaves: list[Any]) -> list[Any]:
    import torch

    return [leaf for leaf in leaves if isinstance(leaf, torch.Tensor)]


def _largest(tensor: Any) -> float:
    finite = tensor.double().nan_to_num(0, 0, 0).abs()
    return float(finite.max()) if finite.numel() else 0.0
