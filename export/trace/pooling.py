"""Rewrite pooling whose window depends on the image size, while a module is traced.

``torch.nn.functional.adaptive_*_pool*`` with a dynamic height or width is exported as a pooling with the traced
image's kernel: no error, the right shape, other numbers at another size (pytorch/pytorch#147720). Pooling with
``kernel_size=x.shape[2:]`` fixes the size instead (pytorch/pytorch#39323). Both come from integers in the operator's
signature, before any graph exists, so they are answered here, where the Python call is still seen: with reductions,
a product with a bin matrix (average) or a gather of bins (maximum), which hold at every size.

Bins follow PyTorch: bin ``i`` of ``o`` over ``s`` elements is ``[floor(i s / o), ceil((i + 1) s / o))``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.fx.experimental.symbolic_shapes import statically_known_true
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

# A size of a traced tensor is a torch.SymInt, which stands in for an int without being one.
Size = int


def _edges(size: Size, bins: Size, x: Tensor) -> tuple[Tensor, Tensor]:
    """First and one-past-last element of every bin, both of shape (bins,)."""
    index = torch.arange(bins, device=x.device)
    start = torch.div(index * size, bins, rounding_mode="floor")
    stop = torch.div((index + 1) * size + bins - 1, bins, rounding_mode="floor")
    return start, stop


def _average_bins(x: Tensor, dim: int, bins: Size) -> Tensor:
    """Mean of every bin along ``dim`` (negative): ``(..., s, ...) -> (..., bins, ...)``, as one matrix product."""
    size = x.shape[dim]
    start, stop = _edges(size, bins, x)
    element = torch.arange(size, device=x.device)
    inside = (element >= start.unsqueeze(1)) & (element < stop.unsqueeze(1))  # (bins, s)
    weight = inside.to(x.dtype) / (stop - start).to(x.dtype).unsqueeze(1)
    if dim == -1:
        return x @ weight.transpose(0, 1)
    if dim == -2:
        return weight @ x
    return (x.movedim(dim, -1) @ weight.transpose(0, 1)).movedim(-1, dim)


def _maximum_bins(x: Tensor, dim: int, bins: Size) -> Tensor:
    """Maximum of every bin along ``dim`` (negative): ``(..., s, ...) -> (..., bins, ...)``.

    Bins differ in length by one, so each is gathered at the longest length, its last element repeated.
    """
    size = x.shape[dim]
    start, stop = _edges(size, bins, x)
    longest = size // bins + 2
    offset = torch.arange(longest, device=x.device)
    index = torch.minimum(start.unsqueeze(1) + offset, (stop - 1).unsqueeze(1))  # (bins, longest)
    gathered = x.index_select(dim, index.flatten())
    shape = [*x.shape[:dim], bins, longest, *(x.shape[dim:][1:])]
    return gathered.reshape(shape).amax(dim)


def _adaptive(
    x: Tensor, output_size: Any, spatial: int, whole: Callable[..., Tensor], bins: Callable[[Tensor, int, Size], Tensor]
) -> Tensor:
    sizes: Sequence[Any] = output_size if isinstance(output_size, Sequence) else [output_size] * spatial
    wanted = {}
    for dim, out in zip(range(-spatial, 0), sizes, strict=True):
        if out is not None and not statically_known_true(out == x.shape[dim]):
            wanted[dim] = out
    single = tuple(dim for dim, out in wanted.items() if isinstance(out, int) and out == 1)
    if single:
        x = whole(x, dim=single, keepdim=True)
    for dim, out in wanted.items():
        if dim not in single:
            x = bins(x, dim, out)
    return x


def adaptive_average(x: Tensor, output_size: Any, spatial: int) -> Tensor:
    """``F.adaptive_avg_pool{spatial}d``, exportable for every input and output size.

    ``x`` is (n, c, *s) or (c, *s) with ``spatial`` dimensions ``s``; the result has ``output_size`` in their place.
    """
    return _adaptive(x, output_size, spatial, torch.mean, _average_bins)


def adaptive_maximum(x: Tensor, output_size: Any, spatial: int) -> Tensor:
    """``F.adaptive_max_pool{spatial}d``, exportable for every input and output size; shapes as adaptive_average."""
    return _adaptive(x, output_size, spatial, torch.amax, _maximum_bins)


def _is_static_factor(x: Tensor, output_size: Any, spatial: int) -> bool:
    """Whether every bin has the same length, known now: then the exporter's plain pooling is right."""
    sizes = output_size if isinstance(output_size, Sequence) else [output_size] * spatial
    return all(
        isinstance(size, int) and (out is None or (isinstance(out, int) and size % out == 0))
        for size, out in zip(x.shape[-spatial:], sizes, strict=True)
    )


def _covers_everything(x: Tensor, kernel: Any, spatial: int) -> bool:
    """Whether the window is the whole, dynamic image."""
    sizes = list(kernel) if isinstance(kernel, Sequence) else [kernel] * spatial
    if len(sizes) == 1:
        sizes *= spatial
    return any(isinstance(size, torch.SymInt) for size in sizes) and all(
        statically_known_true(k == s) for k, s in zip(sizes, x.shape[-spatial:], strict=True)
    )


_ADAPTIVE: dict[Any, tuple[Callable[[Tensor, Any, int], Tensor], int]] = {
    F.adaptive_avg_pool1d: (adaptive_average, 1),
    F.adaptive_avg_pool2d: (adaptive_average, 2),
    F.adaptive_avg_pool3d: (adaptive_average, 3),
    torch._C._nn.adaptive_avg_pool2d: (adaptive_average, 2),
    torch._C._nn.adaptive_avg_pool3d: (adaptive_average, 3),
    F.adaptive_max_pool1d: (adaptive_maximum, 1),
    F.adaptive_max_pool2d: (adaptive_maximum, 2),
    F.adaptive_max_pool3d: (adaptive_maximum, 3),
}
_WINDOW: dict[Any, tuple[Callable[..., Tensor], int]] = {
    F.avg_pool1d: (torch.mean, 1),
    F.avg_pool2d: (torch.mean, 2),
    F.avg_pool3d: (torch.mean, 3),
    F.max_pool1d: (torch.amax, 1),
    F.max_pool2d: (torch.amax, 2),
    F.max_pool3d: (torch.amax, 3),
}


class SizeIndependentPooling(TorchFunctionMode):
    """While active, pooling whose window depends on a dynamic size is computed in a form that holds at every size."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        options = dict(kwargs or {})
        replaced = self._replace(func, args, options)
        return func(*args, **options) if replaced is None else replaced

    def _replace(self, func: Any, args: tuple[Any, ...], options: dict[str, Any]) -> Tensor | None:
        if func in _ADAPTIVE:
            pool, spatial = _ADAPTIVE[func]
            x, size = _arguments(args, options, "output_size")
            if options.get("return_indices") or _is_static_factor(x, size, spatial):
                return None
            return pool(x, size, spatial)
        if func in _WINDOW:
            whole, spatial = _WINDOW[func]
            x, kernel = _arguments(args, options, "kernel_size")
            padding = options.get("padding", args[3] if len(args) > 3 else 0)
            is_padded = any(padding) if isinstance(padding, Sequence) else bool(padding)
            plain = not is_padded and not options.get("return_indices") and not options.get("divisor_override")
            if plain and _covers_everything(x, kernel, spatial):
                return whole(x, dim=tuple(range(-spatial, 0)), keepdim=True)
        return None


def _arguments(args: tuple[Any, ...], options: Mapping[str, Any], second: str) -> tuple[Tensor, Any]:
    return (args[0] if args else options["input"], args[1] if len(args) > 1 else options[second])
