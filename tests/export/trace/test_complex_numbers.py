"""Operators of complex numbers in their parts equal PyTorch's, and a graph of them computes what PyTorch does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from sized import exported
from torch import Tensor, nn

from attn2trt.engines.ort_runtime import OrtRuntime
from attn2trt.export.trace.complex_numbers import TABLE, spell_out

ATEN = torch.ops.aten
X = torch.randn(3, 4, dtype=torch.complex128)
Y = torch.randn(3, 4, dtype=torch.complex128)
REAL = torch.randn(3, 4, dtype=torch.float64)
PLACES = torch.tensor([2, 0, 1, 1])
CALLS: tuple[tuple[Any, ...], ...] = (
    *((operator, *pair) for operator in (ATEN.mul.Tensor, ATEN.div.Tensor) for pair in ((X, Y), (X, REAL), (REAL, Y))),
    *((operator, REAL, 2 - 1j) for operator in (ATEN.mul.Tensor, ATEN.div.Tensor, ATEN.add.Tensor, ATEN.sub.Tensor)),
    *((operator, X, 2 - 1j) for operator in (ATEN.mul.Tensor, ATEN.div.Tensor, ATEN.add.Tensor, ATEN.sub.Tensor)),
    (ATEN.sub.Tensor, REAL, Y),
    (ATEN.pow.Tensor_Scalar, X, 3),
    (ATEN.exp.default, X),
    (ATEN.sgn.default, X * (REAL > 0)),
    (ATEN.mm.default, X, Y.mT),
    (ATEN.bmm.default, X[None], Y.mT[None]),
    (ATEN.matmul.default, X, Y.mT),
    (ATEN.addmm.default, X[:, :3], X, Y.mT),
    (ATEN.linear.default, X, Y, X[0, :3]),
    (ATEN.linear.default, X, Y),
    (ATEN.index_select.default, X, 1, PLACES),
    (ATEN.select.int, X, 0, 1),
    (ATEN.slice_scatter.default, X, Y[:, :2], 1, 1, 3),
    (ATEN.slice_scatter.default, X, REAL[:, :2], 1, 1, 3),
    (ATEN.index.Tensor, X, [PLACES]),
    (ATEN.index_put.default, X, [PLACES], Y[[0, 1, 2, 2]]),
    (ATEN.constant_pad_nd.default, X, [1, 2], 1.5),
    (ATEN.where.self, REAL > 0, X, REAL),
    (ATEN.cumsum.default, X, 1),
    (ATEN._to_copy.default, REAL),
)


@pytest.mark.parametrize("call", CALLS, ids=lambda call: str(call[0]))
def test_parts_equal_the_operator(call: tuple[Any, ...]) -> None:
    operator, *args = call
    options = {"dtype": torch.complex128} if operator is ATEN._to_copy.default else {}
    torch.testing.assert_close(TABLE[operator](*args, **options), operator(*args, **options))


def test_real_numbers_are_left_alone() -> None:
    assert TABLE[ATEN.mul.Tensor](REAL, 2.0) is NotImplemented
    assert TABLE[ATEN.zeros.default]([2], dtype=torch.float32) is NotImplemented
    assert TABLE[ATEN.pow.Tensor_Scalar](X, 0.5) is NotImplemented
    assert TABLE[ATEN.zeros.default]([2], dtype=torch.complex64).dtype == torch.complex64
    assert TABLE[ATEN._to_copy.default](X, dtype=torch.float64).equal(X.real)


class Modes(nn.Module):
    """A Fourier neural operator's product of a few modes, and phases, shifted and turned."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(4, 4, 2, dtype=torch.cfloat))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        spectrum = torch.fft.rfft(x)
        kept = torch.zeros_like(spectrum)
        kept[..., :2] = torch.einsum("bix,iox->box", spectrum[..., :2], self.weight)
        turned = torch.fft.fftshift(torch.fft.fft(x)) * torch.exp(1j * x)
        return torch.fft.irfft(kept, n=x.shape[-1]), turned.real


def test_a_program_keeps_no_operator_that_is_composed_of_others() -> None:
    module, x = Modes(), torch.randn(3, 4, 6)
    program = torch.export.export(module, (x,), strict=False)
    spelt = spell_out(program)
    assert not {"aten.einsum.default", "aten.mul.Tensor", "aten.bmm.default"} & {
        str(node.target)
        for node in spelt.graph.nodes
        if isinstance(found := node.meta.get("val"), Tensor) and found.is_complex()
    }
    for value, expected in zip(spelt.module()(x), module(x), strict=True):
        torch.testing.assert_close(value, expected)
    real = torch.export.export(nn.Linear(6, 2), (x,), strict=False)
    assert spell_out(real) is real


@pytest.mark.slow
def test_a_graph_of_complex_numbers_computes_what_pytorch_does(tmp_path: Path) -> None:
    module = Modes()
    _, graph = exported(module, tmp_path, "none", (3, 4, 6))
    x = torch.randn(3, 4, 6)
    found = OrtRuntime(graph.path).run({"x": x.numpy()})
    for value, expected in zip(found.values(), module(x), strict=True):
        torch.testing.assert_close(torch.from_numpy(value), expected, rtol=1e-5, atol=1e-5)
