"""Outputs keep the names under which a module returns them, and what no graph can give is refused by its name."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnxruntime
import pytest
import torch
from torch import Tensor, nn
from torch.utils._pytree import register_pytree_node, tree_leaves

from attn2trt.core.graph import OnnxGraph
from attn2trt.errors import ModuleRefused
from attn2trt.export.contract import check_contract
from attn2trt.export.simplify import simplify
from attn2trt.export.trace.exporter import trace
from attn2trt.export.trace.outputs import distinct
from attn2trt.modules.own_module import from_module


class Detections(NamedTuple):
    boxes: Tensor
    scores: Tensor


class Fields(OrderedDict[str, Any]):
    """As diffusers' outputs: PyTorch knows how it is taken apart, and not by which keys."""


class Pair:
    def __init__(self, first: Any, second: Any) -> None:
        self.held = first, second


register_pytree_node(
    Fields, lambda out: ([*out.values()], [*out]), lambda held, keys: Fields(zip(keys, held, strict=True))
)
register_pytree_node(Pair, lambda out: (list(out.held), None), lambda held, _: Pair(*held))


class Returns(nn.Module):
    """A convolution; what is returned is a function of the input, its result and the module."""

    def __init__(self, choose: Callable[[Tensor, Tensor, Any], Any]) -> None:
        super().__init__()
        self.mix = nn.Conv2d(3, 4, 1)
        self.scale = nn.Parameter(torch.randn(4))
        self.choose = choose

    def forward(self, x: Tensor) -> Any:
        return self.choose(x, self.mix(x), self)


STRUCTURES: dict[str, tuple[Callable[[Tensor, Tensor, Any], Any], list[str]]] = {
    "tensor": (lambda x, y, m: y, ["output"]),
    "one in a tuple": (lambda x, y, m: (y,), ["output"]),
    "tuple": (lambda x, y, m: (y, y * 2), ["output_0", "output_1"]),
    "the input": (lambda x, y, m: (y, x), ["output_0", "output_1"]),
    "the input alone": (lambda x, y, m: x, ["output"]),
    "one tensor twice": (lambda x, y, m: [y, y, x, x], ["output_0", "output_1", "output_2", "output_3"]),
    "dict": (lambda x, y, m: {"maps": y, "none": None, "again": y}, ["maps", "again"]),
    "nested": (
        lambda x, y, m: {"maps": [y, y * 2], "deep": {"found": Detections(y.mean(1), y)}},
        ["maps_0", "maps_1", "deep_found_boxes", "deep_found_scores"],
    ),
    "dict in a tuple": (lambda x, y, m: (y, {"boxes": y * 2}), ["output_0", "output_1_boxes"]),
    "a key that is the input's name": (lambda x, y, m: {"x": x, "y": y}, ["x_output", "y"]),
    "a library's own mapping": (lambda x, y, m: Fields(maps=(y, y * 2), x=x), ["maps_0", "maps_1", "x_output"]),
    "a library's own type": (lambda x, y, m: {"pair": Pair(y, {"x": x})}, ["pair_0", "pair_1_x"]),
    "numbers as keys": (lambda x, y, m: {8: y, 16: y * 2}, ["output_8", "output_16"]),
    "keys with spaces": (lambda x, y, m: {"box, score": y, "a b": x}, ["box_score", "a_b"]),
    "a weight and a constant": (
        lambda x, y, m: {"scale": m.scale, "grid": torch.arange(3), "y": y},
        ["scale", "grid", "y"],
    ),
    "a view of the input": (lambda x, y, m: {"flat": x.flatten(1), "same": x.view(x.shape)}, ["flat", "same"]),
}


SIMPLIFIED = ("one tensor twice", "a weight and a constant")


@pytest.mark.parametrize("structure", STRUCTURES)
def test_names_are_those_of_the_structure(structure: str, tmp_path: Path) -> None:
    choose, names = STRUCTURES[structure]
    torch.manual_seed(0)
    module = Returns(choose).eval()
    target = from_module(module, torch.randn(2, 3, 4, 5), dynamic="batch=1:2:4")
    graph = trace(target, module, tmp_path / "m.onnx", opset=17)
    check_contract(graph, opset=17, inputs=target.inputs, outputs=graph.outputs, after="export")
    assert [spec.name for spec in graph.outputs] == names
    x = torch.randn(3, 3, 4, 5)
    expected = [leaf.detach().numpy() for leaf in tree_leaves(module(x)) if leaf is not None]
    graphs = (graph, _simplified(graph, tmp_path)) if structure in SIMPLIFIED else (graph,)
    for one in graphs:
        session = onnxruntime.InferenceSession(one.path, providers=["CPUExecutionProvider"])
        for found, wanted in zip(session.run(names, {"x": x.numpy()}), expected, strict=True):
            np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-6)


def _simplified(graph: OnnxGraph, folder: Path) -> OnnxGraph:
    found, why_not = simplify(graph, folder / "simplified.onnx")
    assert not why_not
    return found


@dataclass
class Found:
    """As kornia's features: PyTorch takes a dataclass apart once it is registered."""

    boxes: Tensor


REFUSED: dict[str, tuple[Callable[[Tensor, Tensor, Any], Any], str]] = {
    "nothing": (lambda x, y, m: None, "returns no tensor; return one or more"),
    "an empty dict": (lambda x, y, m: {"aux": None}, "returns no tensor"),
    "a number": (lambda x, y, m: {"y": y, "stride": 8}, "returns 'stride', 8, which is no tensor"),
    "a size": (lambda x, y, m: (y, x.shape[0]), "returns 'output_1', 2, which is no tensor"),
    "complex numbers": (lambda x, y, m: {"spectrum": torch.fft.rfft2(y)}, "returns 'spectrum', .*view_as_real"),
    "bfloat16": (lambda x, y, m: [y.bfloat16()], r"returns 'output_0', a tensor of bfloat16; return its \.float\(\)"),
    "sparse": (lambda x, y, m: {"few": y.to_sparse()}, r"returns 'few', a sparse tensor; return its \.to_dense\(\)"),
    "a text": (lambda x, y, m: {"y": y, "task": "detect"}, "returns 'task', 'detect', which is no tensor"),
    "a dataclass": (
        lambda x, y, m: Found(y),
        r"'output', a Found, .*; call torch\.export\.register_dataclass\(Found\)",
    ),
    "an object": (lambda x, y, m: {"y": y, "module": m}, "returns 'module', a Returns, which is no tensor"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_no_graph_can_give_is_refused_with_its_name_and_line(kind: str, tmp_path: Path) -> None:
    choose, message = REFUSED[kind]
    module = Returns(choose).eval()
    target = from_module(module, torch.randn(2, 3, 4, 5), dynamic="batch=1:2:4")
    with pytest.raises(ModuleRefused, match=rf"test_outputs\.py:\d+ `return self\.choose.*{message}") as caught:
        trace(target, module, tmp_path / "m.onnx", opset=17)
    assert caught.value.exit_code == 2


def test_names_that_meet_are_kept_different() -> None:
    assert distinct(["a", "a", "x", "a_output"], ["x"]) == ("a", "a_output", "x_output", "a_output_output")
