"""A module traced at some sizes, and its graph compared with eager PyTorch at others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.utils._pytree import tree_leaves

from attn2trt.core.graph import OnnxGraph
from attn2trt.engines.ort_runtime import OrtRuntime
from attn2trt.export.trace.exporter import trace
from attn2trt.modules.own_module import from_module
from attn2trt.modules.target import Target


def exported(
    module: nn.Module, folder: Path, dynamic: str, *shapes: Sequence[int], layout: str | None = None
) -> tuple[Target, OnnxGraph]:
    """``module`` with seeded weights, traced at ``shapes``."""
    generator = torch.Generator().manual_seed(0)
    module = module.eval()
    example = [torch.randn(*shape, generator=generator) for shape in shapes]
    target = from_module(module, example, dynamic=dynamic, layout=layout)
    return target, trace(target, module, folder / "model.onnx", opset=17)


def check_right(target: Target, graph: OnnxGraph, sizes: Mapping[str, int]) -> None:
    """Compare the graph with eager PyTorch at these sizes."""
    generator = torch.Generator().manual_seed(1)
    feeds = {spec.name: torch.randn(spec.resolve(sizes), generator=generator) for spec in target.inputs}
    with torch.no_grad():
        expected = tree_leaves(target.build()(*feeds.values()))
    found = OrtRuntime(graph.path).run({name: value.numpy() for name, value in feeds.items()})
    assert len(found) == len(expected)
    for value, truth in zip(found.values(), expected, strict=True):
        np.testing.assert_allclose(value, truth.numpy(), rtol=1e-4, atol=1e-5, err_msg=str(dict(sizes)))
