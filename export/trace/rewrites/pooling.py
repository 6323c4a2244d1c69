"""Rewrite pooling whose window depends on the image size, while a module is traced.

``torch.nn.functional.adaptive_*_pool*`` with a dynamic height or width is exported as a pooling with the traced
image's kernel: no error, the right shape, other numbers at another size (pytorch/pytorch#147720). Pooling with
``kernel_size=x.shape[2:]`` fixes the size instead (pytorch/pytorch#39323). Both come from integers in the operator's
signature, before any graph exists, so they are answered here, with the Python call still in sight: with reductions,
a product with a bin matrix (average) or a gather of bins (maximum), which hold at every size. Resizing by area is
adaptive average pooling under another name (pytorch/pytorch#41009).

Bins follow PyTorch: bin ``i`` of ``o`` over ``s`` elements is ``[floor(i s / o), ceil((i + 1) s / o))``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.fx.experimental.symbolic_shapes import statically_known_true
from torch.nn import functional as F

from . import antialiased, gathered_windows
from .calls import Arguments, Rewrite, Size, arange, in_groups, is_symbolic, sizes_of

# TensorRT refuses a window of more pixels.
MOST_IN_WINDOW = 100_000


def _edges(size: Size, bins: Size, x: Tensor) -> tuple[Tensor, Tensor]:
    """First and one-past-last element of every bin, both of shape (bins,)."""
    index = arange(bins, x)
    start = torch.div(index * size, bins, rounding_mode="floor")
    stop = torch.div((index + 1) * size + bins - 1, bins, rounding_mode="floor")
    return start, stop


def _average_bins(x: Tensor, dim: int, bins: Size) -> Tensor:
    """Mean of every bin along ``dim`` (negative): ``(..., s, ...) -> (..., bins, ...)``, as one matrix product."""
    size = x.shape[dim]
    start, stop = _edges(size, bins, x)
    element = arange(size, x)
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
    return in_groups(x, dim, _in_bins(x, dim, bins)).amax(dim)


def _in_bins(x: Tensor, dim: int, bins: Size) -> Tensor:
    """Return the places of every bin's elements, (bins, longest)."""
    size = x.shape[dim]
    start, stop = _edges(size, bins, x)
    return torch.minimum(start.unsqueeze(1) + arange(size // bins + 2, x), (stop - 1).unsqueeze(1))


def _adaptive(
    x: Tensor, output_size: Any, spatial: int, whole: Callable[..., Tensor], bins: Callable[[Tensor, int, Size], Tensor]
) -> Tensor:
    wanted = {
        dim: out
        for dim, out in zip(range(-spatial, 0), _of_axes(output_size, spatial), strict=True)
        if out is not None and not statically_known_true(out == x.shape[dim])
    }
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
    """Return True if every bin has the same length, known now: then the exporter's plain pooling is right."""
    return all(
        isinstance(size, int) and (out is None or (isinstance(out, int) and size % out == 0))
        for size, out in zip(x.shape[-spatial:], _of_axes(output_size, spatial), strict=True)
    )


def _of_axes(output_size: Any, spatial: int) -> Sequence[Any]:
    return output_size if isinstance(output_size, Sequence) else [output_size] * spatial


def windows(x: Tensor, kernel: Any, stride: Any, spatial: int, reduce: Callable[..., Tensor]) -> Tensor:
    """Pooling without padding whose window or step is a size: ``reduce`` (mean or amax) over every window.

    A window as long as its dimension is one reduction; any other is gathered.
    """
    kernels, steps = sizes_of(kernel, spatial), sizes_of(stride, spatial)
    dims = list(range(-spatial, 0))
    whole = [dim for dim in dims if statically_known_true(kernels[dim] == x.shape[dim])]
    if whole:
        x = reduce(x, dim=tuple(whole), keepdim=True)
    for dim in dims:
        if dim in whole or (kernels[dim] == 1 and steps[dim] == 1):
            continue
        count = (x.shape[dim] - kernels[dim]) // steps[dim] + 1
        place = (arange(count, x) * steps[dim]).unsqueeze(1) + arange(kernels[dim], x)  # (count, kernel)
        x = reduce(in_groups(x, dim, place), dim=dim)
    return x


def _rewrite_adaptive(pool: Callable[[Tensor, Any, int], Tensor], spatial: int, call: Arguments) -> Tensor | None:
    x, size = call["input"], call["output_size"]
    if call.get("return_indices") or _is_static_factor(x, size, spatial):
        return None
    return pool(x, size, spatial)


def _rewrite_places(spatial: int, call: Arguments) -> tuple[Tensor, Tensor] | None:
    """Adaptive maximum pooling with the places: a bin's last element, repeated, is never the first of its largest."""
    x: Tensor = call["input"]
    if not x.is_floating_point():
        return None
    gathered, positions = x, []
    for dim, bins in zip(range(-spatial, 0), _of_axes(call["output_size"], spatial), strict=True):
        positions.append(_in_bins(x, dim, x.shape[dim] if bins is None else bins))
        gathered = in_groups(gathered, x.dim() + dim, positions[-1]).movedim(x.dim() + dim + 1, -1)
    return gathered_windows.with_places(gathered.flatten(x.dim()), positions, [1] * spatial, x.shape[-spatial:])


def _rewrite_window(reduce: Callable[..., Tensor], spatial: int, call: Arguments) -> Tensor | None:
    kernel = call["kernel_size"]
    stride = call.get("stride")
    stride = kernel if stride is None or stride == [] else stride
    plain = {"padding": 0, "dilation": 1, "return_indices": False, "divisor_override": None}
    for name, value in plain.items():
        if any(given != value for given in sizes_of(call.get(name, value), 1)):
            return None
    if call.get("ceil_mode"):
        x, dims = call["input"], tuple(range(-spatial, 0))
        return reduce(x, dim=dims, keepdim=True) if _is_larger(x, kernel, stride, spatial) else None
    if not is_symbolic(kernel) and not is_symbolic(stride):
        return None
    return windows(call["input"], kernel, stride, spatial, reduce)


def _is_larger(x: Tensor, kernel: Any, stride: Any, spatial: int) -> bool:
    """Return True if there is one window, which is cut off at the end of the image, as in EfficientNet of transformers.

    TensorRT takes no window of so many pixels: sizes up to it are all that a graph with one would be built for.
    """
    kernels, steps = sizes_of(kernel, spatial), sizes_of(stride, spatial)
    is_refused = not is_symbolic(kernel) and math.prod(kernels) > MOST_IN_WINDOW
    bounds = [
        bound
        for k, step, size in zip(kernels, steps, x.shape[-spatial:], strict=True)
        for bound in (k >= size, size + step > k)
    ]
    return all(map(statically_known_true, bounds)) or (is_refused and all(map(bool, bounds)))


def _rewrite_average(spatial: int, call: Arguments) -> Tensor | None:
    """Average pooling, also by a divisor of one's own, which the exporter leaves out."""
    divisor = call.get("divisor_override")
    if divisor is None or is_symbolic(call["kernel_size"]):
        return _rewrite_window(torch.mean, spatial, call)
    if call.get("ceil_mode"):  # the last window may reach beyond the padding, and has the same divisor
        found = gathered_windows.windows(call, spatial, 0.0)
        return None if found is None else found[0].sum(-1) / divisor
    # of windows of one size, that of the padding included: their sum over that size
    plain: Tensor = _PLAIN_AVERAGES[spatial](**(call | {"divisor_override": None, "count_include_pad": True}))
    factor: float = math.prod(sizes_of(call["kernel_size"], spatial)) / divisor
    return plain * factor


def _rewrite_maximum(spatial: int, call: Arguments) -> Tensor | None:
    if any(gap != 1 for gap in sizes_of(call.get("dilation", 1), spatial)):
        return gathered_windows.dilated(call, spatial)
    return _rewrite_window(torch.amax, spatial, call)


def _rewrite_power(spatial: int, call: Arguments) -> Tensor | None:
    """lp_pool: the p-th root of the window's sum of p-th powers; torch's own calls average pooling inside."""
    mean = _rewrite_window(torch.mean, spatial, call | {"input": call["input"].pow(call["norm_type"])})
    if mean is None:
        return None
    count: Any = 1
    for size in sizes_of(call["kernel_size"], spatial):
        count = count * size
    power: Tensor = (mean.sign() * mean.abs().relu() * count).pow(1.0 / call["norm_type"])
    return power


def _rewrite_resize(call: Arguments) -> Tensor | None:
    if call.get("antialias"):
        return antialiased.resize(call)
    x, size = call["input"], call.get("size")
    if call.get("mode", "nearest") != "area":
        return None
    if size is None:
        factors = sizes_of(call["scale_factor"], x.dim() - 2)
        size = [torch.sym_int(s * factor) for s, factor in zip(x.shape[2:], factors, strict=True)]
    return adaptive_average(x, size, x.dim() - 2)


_PLAIN_AVERAGES: dict[int, Any] = {1: F.avg_pool1d, 2: F.avg_pool2d, 3: F.avg_pool3d}
_ADAPTIVE = ("input", "output_size", "return_indices")
_AVERAGE = ("input", "kernel_size", "stride", "padding", "ceil_mode", "count_include_pad", "divisor_override")
_MAXIMUM = ("input", "kernel_size", "stride", "padding", "dilation", "ceil_mode", "return_indices")
_POWER = ("input", "norm_type", "kernel_size", "stride", "ceil_mode")
_RESIZE = ("input", "size", "scale_factor", "mode", "align_corners", "recompute_scale_factor", "antialias")


def _table() -> dict[Any, tuple[tuple[str, ...], Rewrite]]:
    table: dict[Any, tuple[tuple[str, ...], Rewrite]] = {F.interpolate: (_RESIZE, _rewrite_resize)}
    averages: tuple[Any, ...] = (F.adaptive_avg_pool1d, F.adaptive_avg_pool2d, F.adaptive_avg_pool3d)
    maxima: tuple[Any, ...] = (F.adaptive_max_pool1d, F.adaptive_max_pool2d, F.adaptive_max_pool3d)
    inner = {torch._C._nn.adaptive_avg_pool2d: 2, torch._C._nn.adaptive_avg_pool3d: 3}
    for function, spatial in [*zip(averages, (1, 2, 3), strict=True), *inner.items()]:
        table[function] = (_ADAPTIVE, partial(_rewrite_adaptive, adaptive_average, spatial))
    for function, spatial in zip(maxima, (1, 2, 3), strict=True):
        table[function] = (_ADAPTIVE, partial(_rewrite_adaptive, adaptive_maximum, spatial))
    placed: tuple[Any, ...] = (
        F.adaptive_max_pool1d_with_indices,
        F.adaptive_max_pool2d_with_indices,
        F.adaptive_max_pool3d_with_indices,
    )
    for spatial, function in enumerate(placed, 1):
        table[function] = (_ADAPTIVE, partial(_rewrite_places, spatial))
    for spatial, function in _PLAIN_AVERAGES.items():
        table[function] = (_AVERAGE, partial(_rewrite_average, spatial))
    plain: tuple[Any, ...] = (F.max_pool1d, F.max_pool2d, F.max_pool3d)
    for spatial, function in enumerate(plain, 1):
        table[function] = (_MAXIMUM, partial(_rewrite_maximum, spatial))
    plain = (F.lp_pool1d, F.lp_pool2d, F.lp_pool3d)
    for spatial, function in enumerate(plain, 1):
        table[function] = (_POWER, partial(_rewrite_power, spatial))
    return table


REWRITES = _table()
