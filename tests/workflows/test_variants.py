"""The models that are timed: what the plain backbone is built of, and the runners of each."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from attn2trt.core.graph import OnnxGraph
from attn2trt.core.progress import silent
from attn2trt.core.tensor_spec import TensorSpec
from attn2trt.engines.timing import runtimes
from attn2trt.modules import catalog
from attn2trt.modules.target import Target
from attn2trt.workflows import float32_graph
from attn2trt.workflows.options import Weights
from attn2trt.workflows.variant_runners import ModuleRunners, of_backbone
from attn2trt.workflows.variants import BACKBONE, Built, Exporter, Variant, export_backbone

SMALL: dict[str, Any] = {"shapes": ["2x16x4x4"], "dynamic": "batch=1:2:4"}
GRAPH = OnnxGraph(Path("model.onnx"), 17, (), (TensorSpec("output", ("batch", 16, 4, 4)),))


def test_the_plain_backbone_is_built_at_the_same_sizes_without_its_blocks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    resolve = catalog.resolve
    asked: list[tuple[str, Any]] = []

    def recording(spec: str, **arguments: Any) -> Target:
        asked.append((spec, arguments))
        return resolve("se", **{**SMALL, "seed": 0})  # stands for a backbone, and is there in no time

    monkeypatch.setattr(catalog, "resolve", recording)
    monkeypatch.setattr(float32_graph, "export_graph", lambda *_, **__: GRAPH)
    target = resolve("resnet18+se@stage4", shapes=["2x3x32x32"], dynamic="batch=1:2:4")
    weights = Weights(seed=5, pretrained=True, checkpoint="weights.pt")
    exporter = Exporter(tmp_path, 17, silent)
    found = export_backbone(target.name, target, weights, exporter)
    assert asked == [
        (
            "resnet18",
            {
                "shapes": ["image=2x3x32x32@nchw"],
                "dynamic": dict(target.axes),
                "seed": 5,
                "pretrained": True,
                "trust": False,
            },
        )
    ]
    assert found is not None
    assert found.name == BACKBONE
    assert export_backbone("se", target, weights, exporter) is None


def test_a_plain_backbone_has_no_plan_no_tuned_graph_and_no_plain_export() -> None:
    expected = set(runtimes.RUNTIMES) - {"ort-cpu-plain-export", "ort-cpu-tuned", *runtimes.PLANS}
    assert {*of_backbone(tuple(runtimes.RUNTIMES))} == expected


def test_the_reason_of_the_plain_exporter_is_that_of_its_row(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise RuntimeError("\nno way\nto export this")

    monkeypatch.setattr(torch.onnx, "export", refuse)
    target = catalog.resolve("se", **SMALL)
    variant = Variant("target", target.inputs, target.axes, built=Built(target, target.build(), GRAPH))
    found = ModuleRunners(variant, GRAPH.path, tmp_path, silent).runners(["ort-cpu-plain-export"])
    assert found == {"ort-cpu-plain-export": "torch.onnx.export refuses se: RuntimeError: no way"}
