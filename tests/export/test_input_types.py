"""Inputs that are not float32: bytes of images and half precision, as a module takes them itself."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import Tensor, nn

from attn2trt.core.graph import OnnxGraph
from attn2trt.core.tensor_spec import TensorSpec
from attn2trt.export.contract import check_contract
from attn2trt.export.trace.exporter import trace
from attn2trt.modules.own_module import from_module
from attn2trt.validate.cases import make_cases


class Bytes(nn.Module):
    """An image of bytes, channels last, moved before it is cast."""

    def forward(self, image: Tensor) -> Tensor:
        moved = image.permute(0, 3, 1, 2)[:, :, 1:].flatten(2)
        return moved.float() / 255 - torch.tensor([0.4, 0.5, 0.6]).view(1, 3, 1)


class Flattened(nn.Module):
    """An image of bytes whose sizes are read, before and after it is moved."""

    def forward(self, image: Tensor) -> Tensor:
        moved = image.permute(0, 3, 1, 2)
        rows = moved.reshape(image.shape[0], image.shape[3], image.shape[1] * image.shape[2]).float() / 255
        return rows + moved.shape[0] + moved.shape[2]


class CastFirst(nn.Module):
    def forward(self, image: Tensor) -> Tensor:
        return image.float().permute(0, 3, 1, 2)


class Wrapping(nn.Module):
    """Sums of bytes wrap around: a cast before them would change the result."""

    def forward(self, image: Tensor) -> Tensor:
        return (image.permute(0, 3, 1, 2).flip(1) + image.permute(0, 3, 1, 2)).float()


class Half(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.mix = nn.Linear(3, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.mix(x.float()).half()


class Double(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        y = x.double()
        return (y - y.mean(-1, keepdim=True)).float()


IMAGE = torch.randint(0, 256, (2, 6, 8, 3), dtype=torch.uint8)


def traced(module: nn.Module, x: Tensor, folder: Path, dynamic: str = "batch=1:2:4") -> OnnxGraph:
    target = from_module(module.eval(), x, dynamic=dynamic)
    graph = trace(target, module, folder / "m.onnx", opset=17)
    check_contract(graph, opset=17, inputs=target.inputs, outputs=graph.outputs, after="export")
    (found,) = onnxruntime.InferenceSession(graph.path, providers=["CPUExecutionProvider"]).run(
        None, {target.inputs[0].name: x.numpy()}
    )
    np.testing.assert_allclose(found, module(x).detach().numpy(), rtol=1e-5, atol=1e-6)
    return graph


@pytest.mark.parametrize(
    ("kind", "dynamic"),
    [(Bytes, "batch=1:2:4"), (CastFirst, "batch=1:2:4"), (Flattened, "dim0=1:2:4,dim1=4:6:9")],
)
def test_bytes_are_read_by_a_cast_alone(kind: type[nn.Module], dynamic: str, tmp_path: Path) -> None:
    graph = onnx.load(traced(kind(), IMAGE, tmp_path, dynamic).path).graph
    assert {node.op_type for node in graph.node if "image" in node.input} == {"Cast"}


@pytest.mark.filterwarnings("ignore")
def test_what_computes_with_bytes_is_left_as_it_is(tmp_path: Path) -> None:
    graph = trace(from_module(Wrapping(), IMAGE), Wrapping(), tmp_path / "m.onnx", opset=17)
    assert "Cast" not in {node.op_type for node in onnx.load(graph.path).graph.node if "image" in node.input}


def test_half_precision_that_the_module_takes_itself(tmp_path: Path) -> None:
    graph = traced(Half(), torch.randn(2, 3).half(), tmp_path)
    assert (graph.inputs[0].dtype, graph.outputs[0].dtype) == ("float16", "float16")


def test_float64_inside_is_noted_with_its_line(tmp_path: Path) -> None:
    graph = traced(Double(), torch.randn(2, 3), tmp_path)
    (note,) = graph.notes
    assert note.startswith("2 operators compute in float64 (1 ReduceMean, 1 Sub) at ")
    assert "test_input_types.py:" in note
    assert "TensorRT has no float64" in note
    assert traced(CastFirst(), IMAGE, tmp_path).notes == ()


def test_cases_hold_every_byte_and_half_precision() -> None:
    spec = TensorSpec("image", (2, 16, 16, 3), "uint8")
    assert spec.bounds == (0, 255)
    values = [case.feeds["image"] for case in make_cases([spec], {})]
    assert {value.dtype for value in values} == {np.dtype(np.uint8)}
    assert min(value.min() for value in values) == 0
    assert max(value.max() for value in values) == 255
    half = make_cases([TensorSpec("x", (2, 3), "float16")], {})
    assert {case.feeds["x"].dtype for case in half} == {np.dtype(np.float16)}
