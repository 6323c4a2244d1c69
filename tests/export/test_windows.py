"""Window attention keeps every size of its range, one window in a row or several, whole windows or not."""

from __future__ import annotations

from pathlib import Path

from attn2trt.export.trace.exporter import trace
from attn2trt.modules.catalog import resolve


def test_no_size_is_lost(tmp_path: Path) -> None:
    # windows that are not shifted take the same steps but for the roll and the mask
    target = resolve("swin:window=4,shifted=true", shapes=["2x8x8x9"], dynamic="batch=1:2:4,height=3:8:13,width=1:9:16")
    graph = trace(target, target.build(), tmp_path / "model.onnx", opset=17)
    assert graph.axes == target.axes
