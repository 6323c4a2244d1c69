"""Short-time Fourier transforms as frames and products: torch.onnx writes STFT or DFT, of which ``fourier`` tells."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from .calls import Arguments, arange, in_groups
from .fourier import transformed


def _stft(call: Arguments) -> Tensor | None:
    """(samples,) or (batch, samples) -> (..., frequencies, frames), complex."""
    x: Tensor = call["input"]
    count, window = call["n_fft"], call.get("window")
    is_complex = x.is_complex() or (window is not None and window.is_complex())
    if is_complex or not call.get("return_complex") or call.get("align_to_window"):
        return None
    width = call.get("win_length") or count
    side = (count - width) // 2
    window = x.new_ones(width) if window is None else window
    rows = x.reshape(-1, x.shape[-1])
    if call.get("center", True):
        around = (count // 2, count // 2)
        rows = F.pad(rows.unsqueeze(1), around, mode=call.get("pad_mode", "reflect")).squeeze(1)
    step = call.get("hop_length") or count // 4
    frames = (rows.shape[-1] - count) // step + 1
    place = arange(frames, x).unsqueeze(1) * step + arange(count, x)
    taken = in_groups(rows, -1, place) * F.pad(window, (side, count - width - side))
    parts = transformed(taken, None, -1, inverse=False, half=call.get("onesided") is not False)
    scale = count**-0.5 if call.get("normalized") else 1.0
    real, imaginary = (part.transpose(1, 2).reshape(*x.shape[:-1], part.shape[-1], frames) * scale for part in parts)
    return torch.complex(real, imaginary)


_NAMES = (
    *("input", "n_fft", "hop_length", "win_length", "window", "center", "pad_mode", "normalized", "onesided"),
    *("return_complex", "align_to_window"),
)
REWRITES: dict[Any, Any] = {torch.stft: (_NAMES, _stft), Tensor.stft: (_NAMES, _stft)}
