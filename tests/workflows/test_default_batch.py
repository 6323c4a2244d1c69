"""A deploy without --dynamic: any batch if the module takes it, else a fixed one with the reason."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

import attn2trt
from attn2trt.cli.summary import bundle_lines
from attn2trt.errors import InputError, StorageError
from attn2trt.workflows.export import export_bundle


class Gate(nn.Module):
    """Takes any batch."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Conv2d(4, 4, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * self.scale(x).sigmoid()


class RowByRow(Gate):
    """Fixes the batch in tracing."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cat([super(RowByRow, self).forward(x[row : row + 1]) for row in range(x.shape[0])])


class Several(Gate):
    """Takes no single row."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if x.shape[0] < 2:
            raise ValueError("two rows or more")
        return super().forward(x)


class Pairs(Gate):
    """Takes even batches alone."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x[0::2] + x[1::2])


class Branch(Gate):
    """Cannot be traced at any batch."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x if x.mean() > 0 else super().forward(x)


class Breaks(Gate):
    """Takes no input at all."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        raise RuntimeError("no kernel")


def exported(module: nn.Module, folder: Path, rows: int = 2) -> attn2trt.Bundle:
    return export_bundle(module, torch.zeros(rows, 4, 6, 6), out=folder / "bundle")


@pytest.mark.parametrize(
    ("module", "rows", "finding"),
    [
        (RowByRow(), 2, "fixed at 2: RowByRow fixes the axis 'batch' at 2 at "),
        (RowByRow(), 1, "fixed at 1: RowByRow fixes the axis 'batch'"),
        (Several(), 3, "fixed at 3: received x=1x4x6x6 for Several, which raised ValueError: two rows or more"),
        (Pairs(), 4, "fixed at 4: "),
    ],
)
def test_a_module_that_refuses_any_batch_gets_a_fixed_one(
    module: nn.Module, rows: int, finding: str, tmp_path: Path
) -> None:
    bundle = exported(module, tmp_path, rows)
    assert bundle.manifest["default_batch"].startswith(finding)
    assert (bundle.axes, bundle.inputs[0].shape) == ({}, (rows, 4, 6, 6))
    assert exported(module, tmp_path, rows).reused


def test_the_default_is_stated_and_another_choice_is_another_bundle(tmp_path: Path) -> None:
    lines: list[str] = []
    first = export_bundle(Gate(), torch.zeros(2, 4, 6, 6), out=tmp_path / "b", progress=lines.append)
    assert first.manifest["default_batch"] == "1:2:8 by default"
    assert "tracing and exporting to ONNX, batch 1:2:8 by default" in lines
    summary = bundle_lines(first)
    assert "dynamic  batch 1:2:8  (min:opt:max)" in summary
    assert "batch    1:2:8 by default; --dynamic none keeps the traced size" in summary
    fixed = export_bundle(Gate(), torch.zeros(2, 4, 6, 6), out=tmp_path / "b", dynamic="none")
    assert not fixed.reused
    assert (fixed.axes, fixed.manifest["default_batch"]) == ({}, "")
    assert not [line for line in bundle_lines(fixed) if line.startswith(("dynamic", "batch"))]


@pytest.mark.parametrize(
    ("module", "message"),
    [(Branch(), "Branch cannot be traced"), (Breaks(), "received x=2x4x6x6 for Breaks, which raised RuntimeError")],
)
def test_an_error_of_every_batch_is_not_hidden(module: nn.Module, message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=message):
        exported(module, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_any_other_error_is_raised_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[object] = []

    def breaks(*_: object, **__: object) -> None:
        calls.append(None)
        raise OSError("no space left")

    monkeypatch.setattr("attn2trt.export.trace.exporter.trace", breaks)
    with pytest.raises(StorageError, match="no space left"):
        exported(Gate(), tmp_path)
    assert len(calls) == 1
