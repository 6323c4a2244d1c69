"""Discrete Fourier transforms as products with cosine and sine matrices.

torch.fft is exported as DFT, for which TensorRT has no importer (NVIDIA/TensorRT#4480) and which ONNX Runtime sums
naively if the length is no power of two (microsoft/onnxruntime#8944): up to a hundred times PyTorch's rounding, and
an error for the inverse to a real signal. The matrices are made in the graph from the length, so that they hold for
every size.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from .calls import Arguments, Size, arange, is_symbolic
from .rolling import roll


def _matrices(rows: Size, columns: Size, length: Size, like: Tensor) -> tuple[Tensor, Tensor]:
    """cos and sin of 2 pi j k / ``length``, both (rows, columns).

    The angle is reduced to within an eighth of a turn in whole numbers, so that its rounding stays below the products'.
    """
    fourfold: Tensor = 4 * arange(rows, like).unsqueeze(1) * arange(columns, like)
    quarters = torch.div(2 * fourfold + length, 2 * length, rounding_mode="floor")
    angle = (fourfold - quarters * length).to(like.dtype) / length * (math.pi / 2)
    quarter = quarters - 4 * torch.div(quarters, 4, rounding_mode="floor")
    is_odd, is_turned = (quarter == 1) | (quarter == 3), (quarter == 1) | (quarter == 2)
    cos, sin = torch.where(is_odd, angle.sin(), angle.cos()), torch.where(is_odd, angle.cos(), angle.sin())
    return torch.where(is_turned, -cos, cos), torch.where(quarter >= 2, -sin, sin)


def _scaled(x: Tensor, length: Size, norm: str | None, *, inverse: bool) -> Tensor:
    if norm == "ortho":
        return x.div(length**0.5)
    return x / length if inverse == (norm != "forward") else x


def transformed(
    real: Tensor, imaginary: Tensor | None, dim: int, *, inverse: bool, half: bool
) -> tuple[Tensor, Tensor]:
    """The transform along ``dim``; ``half`` keeps the frequencies up to the highest, the rest mirror them."""
    length = real.shape[dim]
    cos, sin = _matrices(length, length // 2 + 1 if half else length, length, real)
    sign = 1.0 if inverse else -1.0
    even, odd = _waves(real.movedim(dim, -1), cos, sin)
    found, turned = even, sign * odd
    if imaginary is not None:
        even, odd = _waves(imaginary.movedim(dim, -1), cos, sin)
        found, turned = found - sign * odd, turned + even
    return found.movedim(-1, dim), turned.movedim(-1, dim)


def _waves(x: Tensor, cos: Tensor, sin: Tensor) -> tuple[Tensor, Tensor]:
    """The products with both matrices along the last dimension.

    The mean is left out of them: over every wave but the first it adds up to zero, and rounded to far more than a fast
    transform leaves of it.
    """
    mean = x.mean(-1, keepdim=True)
    waves = x - mean
    first = (arange(cos.shape[1], x) == 0).to(x.dtype) * x.shape[-1]
    return waves @ cos + mean * first, waves @ sin


def _to_real(real: Tensor, imaginary: Tensor, dim: int, length: Size) -> Tensor:
    """The inverse of half a spectrum along ``dim``, unscaled: (..., length // 2 + 1, ...) -> (..., length, ...)."""
    count = real.shape[dim]
    cos, sin = _matrices(count, length, length, real)
    place = 2 * arange(count, real)
    is_alone = (place == 0) | (place == length)  # frequencies without a mirror image
    weight = torch.where(is_alone, 1.0, 2.0).to(real.dtype)
    found = (real.movedim(dim, -1) * weight) @ cos - (imaginary.movedim(dim, -1) * weight) @ sin
    return found.movedim(-1, dim)


def _parts(x: Tensor) -> tuple[Tensor, Tensor | None]:
    if not x.is_complex():
        return x, None
    pair = torch.view_as_real(x.resolve_conj())
    return pair[..., 0], pair[..., 1]


def _forward(dims: Sequence[int] | None, real_input: bool, inverse: bool, call: Arguments) -> Tensor | None:
    x, norm = call["input"], call.get("norm")
    along = _dims(x, dims, call)
    parts = _parts(x)
    for dim, size in zip(along, _lengths(call, len(along)), strict=True):
        parts = (_fitted(parts[0], dim, size), None if parts[1] is None else _fitted(parts[1], dim, size))
    real, imaginary = parts
    for position, dim in enumerate(reversed(along)):
        length = real.shape[dim]
        real, imaginary = transformed(real, imaginary, dim, inverse=inverse, half=real_input and position == 0)
        real, imaginary = (_scaled(part, length, norm, inverse=inverse) for part in (real, imaginary))
    return None if imaginary is None else torch.complex(real, imaginary)


def _backward_to_real(dims: Sequence[int] | None, call: Arguments) -> Tensor:
    x, norm = call["input"], call.get("norm")
    along = _dims(x, dims, call)
    wanted = _lengths(call, len(along))
    last = along[-1]
    length = wanted[-1] if wanted[-1] is not None else 2 * (x.shape[last] - 1)
    real, imaginary = _parts(x)
    imaginary = torch.zeros_like(real) if imaginary is None else imaginary
    for dim, size in zip(along, [*wanted[:-1], length // 2 + 1], strict=True):
        real, imaginary = _fitted(real, dim, size), _fitted(imaginary, dim, size)
    for dim in along[:-1]:
        size = real.shape[dim]
        real, imaginary = transformed(real, imaginary, dim, inverse=True, half=False)
        real, imaginary = (_scaled(part, size, norm, inverse=True) for part in (real, imaginary))
    return _scaled(_to_real(real, imaginary, last, length), length, norm, inverse=True)


def _hermitian(dims: Sequence[int] | None, call: Arguments) -> Tensor:
    """``hfft``: the inverse of the conjugate, which is scaled where that is not."""
    norm = {"forward": "backward", "ortho": "ortho"}.get(call.get("norm") or "", "forward")
    return _backward_to_real(dims, {**call, "input": call["input"].conj(), "norm": norm})


def _fitted(x: Tensor, dim: int, size: Size | None) -> Tensor:
    """Cut ``x`` along ``dim``, or pad it with zeros behind."""
    if size is None or _same(size, x.shape[dim]) or _same(size, -1):
        return x
    if bool(size < x.shape[dim]):
        return x.narrow(dim, 0, size)
    shape = [size - side if axis == dim % x.dim() else side for axis, side in enumerate(x.shape)]
    return torch.cat([x, x.new_zeros(shape)], dim)


def _dims(x: Tensor, default: Sequence[int] | None, call: Arguments) -> list[int]:
    dims = call.get("dim", default)
    if dims is None:
        sizes = call.get("s")
        dims = range(-(x.dim() if sizes is None else len(sizes)), 0)
    return [dims] if isinstance(dims, int) else list(dims)


def _lengths(call: Arguments, count: int) -> list[Any]:
    sizes = call.get("s", call.get("n"))
    if sizes is None:
        return [None] * count
    return list(sizes) if isinstance(sizes, (list, tuple)) else [sizes]


def _same(size: Any, other: Any) -> bool:
    """Return True if two sizes agree; of dynamic ones the answer becomes a guard of the trace."""
    return bool(size == other)


def _shifted(direction: int, call: Arguments) -> Tensor | None:
    x: Tensor = call["input"]
    dims = call.get("dim")
    along = list(range(x.dim())) if dims is None else [dims] if isinstance(dims, int) else list(dims)
    if not is_symbolic([x.shape[dim] for dim in along]):
        return None
    for dim in along:
        half = x.shape[dim] // 2
        x = roll(x, half if direction > 0 else x.shape[dim] - half, dim)
    return x


def _table() -> dict[Any, Any]:
    one, several, shift = ("input", "n", "dim", "norm"), ("input", "s", "dim", "norm"), ("input", "dim")
    table: dict[Any, Any] = {}
    for suffix, names, dims in (("", one, (-1,)), ("2", several, (-2, -1)), ("n", several, None)):
        for prefix, is_real, inverse in (("fft", False, False), ("ifft", False, True), ("rfft", True, False)):
            table[getattr(torch.fft, prefix + suffix)] = (names, partial(_forward, dims, is_real, inverse))
        table[getattr(torch.fft, "irfft" + suffix)] = (names, partial(_backward_to_real, dims))
        table[getattr(torch.fft, "hfft" + suffix)] = (names, partial(_hermitian, dims))
    table[torch.fft.fftshift] = (shift, partial(_shifted, 1))
    table[torch.fft.ifftshift] = (shift, partial(_shifted, -1))
    return table


REWRITES = _table()
