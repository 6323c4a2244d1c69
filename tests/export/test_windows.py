"""Window attention keeps every size of its range, one window in a row or several, whole windows or not."""

from __future__ import annotations

from pathlib import Path

import pytest

from attn2trt.export.trace.exporter import trace
from attn2trt.modules.catalog import resolve


@pytest.mark.parametrize("spec", ["swin:window=4", "swin:window=4,shifted=true"])
def test_no_size_is_lost(spec: str, tmp_path: Path) -> None:
    target = resolve(spec, shapes=["2x8x8x9"], dynamic="batch=1:2:4,height=3:8:13,width=1:9:16")
    graph = trace(target, target.build(), tmp_path / "model.onnx", opset=17)
    assert graph.axes == target.axes
