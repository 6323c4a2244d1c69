"""Short-time Fourier transforms of any number of samples, as near to float64 as PyTorch's, without STFT or DFT."""

from __future__ import annotations

from pathlib import Path

import onnx
import torch
from sized import check_right, exported
from torch import Tensor, nn


class Spectrograms(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("window", torch.hann_window(9))

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        return (
            torch.stft(x, 16, window=self.window, win_length=9, normalized=True, return_complex=True).abs(),
            torch.view_as_real(
                x[0].stft(10, 3, window=self.window.new_ones(10), center=False, onesided=False, return_complex=True)
            ),
            torch.stft(x, 12, window=self.window.new_ones(12), pad_mode="constant", return_complex=True).real,
        )


def test_a_spectrogram_is_right(tmp_path: Path) -> None:
    found = exported(Spectrograms(), tmp_path, "batch=1:2:3,dim1=20:40:90", (2, 40))
    for batch, samples in ((2, 40), (1, 20), (3, 90), (2, 53)):
        check_right(*found, {"batch": batch, "dim1": samples})
    assert not {node.op_type for node in onnx.load(found[1].path).graph.node} & {"STFT", "DFT"}
