"""A graph is compared with the float32 graph wherever data leaves a module, without PyTorch."""

from __future__ import annotations

import math
import shutil
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import onnx
import pytest
import torch
from onnx import numpy_helper
from torch import nn

import attn2trt
from attn2trt.core.bundle import Bundle, open_bundle
from attn2trt.core.precision import PRECISIONS
from attn2trt.validate.network import along_network
from attn2trt.validate.place import Boundary
from attn2trt.validate.recorded import recorded_cases


class Chain(nn.Module):
    """Three convolutions, one after the other."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second, self.third = (nn.Conv2d(4, 4, 3, padding=1) for _ in range(3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = self.third(torch.sigmoid(self.second(torch.relu(self.first(x)))))
        return y


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return attn2trt.deploy(
        Chain().eval(),
        shapes=["1x4x8x8"],
        dynamic="none",
        precision=",".join(PRECISIONS),
        out=tmp_path_factory.mktemp("network") / "chain",
        judging=attn2trt.Judging(verdict=False),
        capabilities="none",
    )


def along(bundle: Bundle, stages: int | None = None) -> dict[str, tuple[Boundary, ...]]:
    """Return the boundaries of the first so many stages that run, of all by default."""

    def pairs() -> Iterator[Any]:
        return recorded_cases(bundle)

    return {stage.label: boundaries for stage, boundaries in islice(along_network(bundle, pairs), stages)}


@pytest.fixture(scope="module")
def healthy(bundle: Bundle) -> dict[str, tuple[Boundary, ...]]:
    return along(bundle)


def test_every_graph_is_compared_at_every_module(healthy: dict[str, tuple[Boundary, ...]]) -> None:
    assert list(healthy) == ["onnxruntime cpu", *list(PRECISIONS)[1:]]
    for boundaries in healthy.values():
        assert [boundary.module for boundary in boundaries] == ["first", "second", "third"]
        assert all(math.isfinite(boundary.ratio) and boundary.kind == "leave" for boundary in boundaries)
        assert all(0.1 < boundary.ratio < 100 for boundary in boundaries)


def test_an_error_begins_at_its_module(
    bundle: Bundle, healthy: dict[str, tuple[Boundary, ...]], tmp_path: Path
) -> None:
    bundle = open_bundle(shutil.copytree(bundle.path, tmp_path / "chain"))
    as_far_as_fp16 = list(healthy).index("fp16") + 1
    file = bundle.path / bundle.graphs["fp16"]
    broken = onnx.load(file)
    weight = next(tensor for tensor in broken.graph.initializer if tensor.name.startswith("second.weight"))
    values = numpy_helper.to_array(weight)
    weight.CopyFrom(numpy_helper.from_array(values * values.dtype.type(1.5), weight.name))
    onnx.save(broken, file)
    pairs = zip(healthy["fp16"], along(bundle, as_far_as_fp16)["fp16"], strict=True)
    assert [after.ratio > 10 * before.ratio for before, after in pairs] == [False, True, True]
    broken.graph.node[0].op_type = "NoSuchOperator"
    onnx.save(broken, file)
    assert "fp16" not in along(bundle, as_far_as_fp16)
