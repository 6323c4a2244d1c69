"""A fixed sample of the export traps: right at sizes that were not traced, within the ranges that are claimed.

All of them run in benchmarks/traps.py.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from torch.utils._pytree import tree_leaves
from traps import TRAPS

from attn2trt.errors import ModuleRefused
from attn2trt.export.trace.exporter import trace
from attn2trt.modules.catalog import resolve
from attn2trt.modules.own_module import from_module

SAMPLE = (
    "CoordinatePooling",
    "IntSizes",
    "KernelPerImage",
    "UnfoldFold",
    "RollByHalf",
    "PixelUnshuffle",
    "CosineWeights",
    "AttentionInWindows",
    "AttentionWithoutHeads",
    "MaskedWindows",
    "WhollyMaskedRows",
    "MinusInfinityRows",
)
REFUSED = {
    "LoopOverRows": r"fixes the axis 'height' at 12 at .*shapes.py:\d+ `for row in range\(x.shape\[2\]\):`",
    "TableByText": r"is proven only if nothing depends on a text of width at .*shapes.py:\d+ `return x \* {",
    "LongerSide": r"holds only if width > height at .*shapes.py:\d+ `if x.shape\[3\] > x.shape\[2\]:`",
}


@pytest.mark.parametrize("name", SAMPLE)
def test_is_right_where_it_claims_to_be(name: str, tmp_path: Path) -> None:
    trap = TRAPS[name]
    module = trap.build()
    target = from_module(module, trap.example(), dynamic=trap.dynamic)
    graph = trace(target, module, tmp_path / "trap.onnx", opset=17)
    session = onnxruntime.InferenceSession(graph.path, providers=["CPUExecutionProvider"])
    ends = [{axis: getattr(span, end) for axis, span in graph.axes.items()} for end in ("min", "max")]
    middle = {axis: span.sizes[len(span.sizes) // 3] for axis, span in graph.axes.items()}
    for sizes in (*ends, middle):
        x = torch.randn(target.inputs[0].resolve(sizes))
        (expected,) = tree_leaves(module(x))
        (found,) = session.run(None, {"x": x.numpy()})
        np.testing.assert_allclose(found, expected.detach().numpy(), rtol=1e-4, atol=1e-5, err_msg=str(sizes))


@pytest.mark.parametrize("name", REFUSED)
def test_is_refused_with_the_line_that_decides(name: str, tmp_path: Path) -> None:
    trap = TRAPS[name]
    target = from_module(trap.build(), trap.example(), dynamic=trap.dynamic)
    with pytest.raises(ModuleRefused, match=REFUSED[name]) as caught:
        trace(target, trap.build(), tmp_path / "trap.onnx", opset=17)
    assert "\n" not in str(caught.value)


def test_each_trap_says_what_it_is() -> None:
    assert len(TRAPS) >= 40
    assert all(trap.what for trap in TRAPS.values())


def test_a_map_of_one_pixel_at_the_smallest_size_narrows_nothing(tmp_path: Path) -> None:
    # torch claims more than one window in height, and checks it when the program is run; the graph holds all the same
    target = resolve("outlook", shapes=["1x32x6x8"], dynamic="height=2:6:9")
    graph = trace(target, target.build(), tmp_path / "outlook.onnx", opset=17)
    assert graph.axes == target.axes
