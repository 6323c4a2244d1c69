"""Sizes at which PyTorch and ONNX pick other pixels by nearest: found, and left out of what is claimed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from onnx import TensorProto, helper
from sized import check_right, exported
from torch import Tensor, nn
from torch.nn import functional as F

from attn2trt.engines.ort_runtime import OrtRuntime
from attn2trt.errors import ModuleRefused
from attn2trt.export.trace.nearest_sizes import picks_same


class Stretched(nn.Module):
    """The first two rows, resized to the number of all."""

    def forward(self, x: Tensor) -> Tensor:
        return F.interpolate(x[None, None, :2], size=x.shape, mode="nearest")[0, 0] + x


def test_a_size_at_which_another_pixel_is_picked_is_not_claimed(tmp_path: Path) -> None:
    with pytest.raises(ModuleRefused, match=r"does not hold for dim0 82 at .*interpolate.*narrow it to dim0=60:80:81"):
        exported(Stretched(), tmp_path, "dim0=60:80:90", (80, 5))
    target, graph = exported(Stretched(), tmp_path, "dim0=60:80:81", (80, 5))
    for size in graph.axes["dim0"].sizes:
        check_right(target, graph, {"dim0": size})


@pytest.mark.parametrize(("before", "after", "same"), [(2, 82, False), (2, 80, True), (49, 7, False), (20, 40, True)])
def test_the_formula_is_onnx_runtime_s(before: int, after: int, same: bool, tmp_path: Path) -> None:
    exact = {"mode": "nearest", "nearest_mode": "floor", "coordinate_transformation_mode": "asymmetric"}
    node = helper.make_node("Resize", ["x", "", "", "s"], ["y"], **exact)
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 1, 1, before])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 1, 1, after])
    sizes = helper.make_tensor("s", TensorProto.INT64, [4], [1, 1, 1, after])
    graph = helper.make_graph([node], "g", [x], [y], [sizes])
    path = tmp_path / "resize.onnx"
    path.write_bytes(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9).SerializeToString()
    )
    image = torch.arange(before, dtype=torch.float64).reshape(1, 1, 1, -1)
    found = OrtRuntime(path).run({"x": image.numpy().astype(np.float32)})["y"]
    wanted = F.interpolate(image, size=(1, after), mode="nearest").numpy()
    assert np.array_equal(found, wanted) == same == picks_same(before, after)
