"""The cost of a block is measured on graphs that were compared with PyTorch, and shown beside its limit."""

from __future__ import annotations

import math
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from quick_method import QUICK
from wrong_weights import scale_largest

import attn2trt
from attn2trt.core.graph import OnnxGraph
from attn2trt.engines import roofline
from attn2trt.engines.timing.costs import Cost, Model
from attn2trt.errors import CheckFailed, InputError
from attn2trt.modules.catalog import resolve
from attn2trt.workflows import float32_graph

QUICKLY: dict[str, Any] = {"threads": 1, "method": QUICK}


@pytest.fixture(scope="module", autouse=True)
def small_probes() -> Any:
    """Rates of a few kilobytes: nobody reads them here."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(roofline, "LEAST_OF_MOST", 1 << 20)
        patch.setattr(roofline, "MOST_BYTES", 1 << 20)
        patch.setattr(roofline, "MATMUL", 64)
        patch.setattr(roofline, "CONVOLUTION", (16, 8))
        yield


@pytest.fixture(scope="module")
def found() -> Cost:
    """A block in timm's smallest ResNet."""
    return attn2trt.cost("test_resnet+se@stage4", shapes=["1x3x32x32"], **QUICKLY)


def check_model(model: Model) -> None:
    assert model.timing.latency.iterations >= 2
    assert len(model.timing.round_medians_ms) == QUICK.rounds
    assert 0 < model.limit.least_bytes <= model.limit.bytes
    assert 0 < model.limit.least_ms <= model.limit.operators_ms
    assert model.limit.operations > 0
    assert model.uncounted == ()


def test_a_backbone_is_timed_with_and_without_its_blocks(found: Cost) -> None:
    assert found.added is not None
    assert found.inputs == {"image": (1, 3, 32, 32)}
    check_model(found.model)
    check_model(found.added.plain)
    assert found.added.difference.rounds == found.added.control.rounds == QUICK.rounds
    medians = zip(found.added.plain.timing.round_medians_ms, found.model.timing.round_medians_ms, strict=True)
    assert found.added.difference.ms == pytest.approx(np.median([after - before for before, after in medians]))
    assert found.rates.operations_per_s > 0
    assert len(found.rates.bandwidth) == len(roofline.SHARES)


def test_the_blocks_alone_are_those_in_the_backbone(found: Cost) -> None:
    assert found.added is not None
    (block,) = found.added.blocks
    assert (block.kind, block.shape, block.count) == ("se", (1, 96, 1, 1), 1)
    assert block.paths == ("layer4.0.se",)
    check_model(block.model)
    # the same operators move the same bytes, wherever they stand
    more = found.model.limit.bytes - found.added.plain.limit.bytes
    assert more == pytest.approx(block.model.limit.bytes, rel=0.1)


def test_the_profile_finds_the_blocks_in_their_stage(found: Cost) -> None:
    assert found.added is not None
    stages = {stage.stage: stage for stage in found.added.profile.stages}
    assert {"stem", "layer1", "layer2", "layer3", "layer4", "head"} == set(stages)
    assert stages["layer4"].block_ms > 0
    assert sum(stage.block_ms for stage in stages.values()) == stages["layer4"].block_ms
    assert all(stage.plain_ms > 0 for stage in stages.values())
    assert found.added.profile.calls >= QUICK.rounds
    assert min(found.added.profile.slowdown, found.added.profile.plain_slowdown) > 0
    assert math.isfinite(found.added.profile.total.difference_ms)


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> OnnxGraph:
    """The graph of a block alone."""
    target = resolve("se", shapes=["1x16x8x8"])
    return float32_graph.export_graph(target, target.build(), tmp_path_factory.mktemp("se"))


def test_a_block_alone_stands_beside_its_limit(exported: OnnxGraph, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(float32_graph, "export_graph", lambda *_, **__: exported)
    found = attn2trt.cost("se", shapes=["1x16x8x8"], **QUICKLY)
    assert found.added is None
    assert found.inputs == {"x": (1, 16, 8, 8)}
    check_model(found.model)
    assert found.model.limit.least_bytes >= 2 * 4 * 16 * 8 * 8


def test_a_graph_that_computes_something_else_is_not_timed(
    exported: OnnxGraph, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = replace(exported, path=Path(shutil.copy(exported.path, tmp_path)))
    scale_largest(broken.path, 1.5)
    monkeypatch.setattr(float32_graph, "export_graph", lambda *_, **__: broken)
    with pytest.raises(CheckFailed, match=r"something else than PyTorch.*nothing was timed"):
        attn2trt.cost("se", shapes=["1x16x8x8"], **QUICKLY)


@pytest.mark.parametrize(
    ("target", "options", "words"),
    [
        ("resnet18", {}, "a backbone without a block"),
        ("se", {}, "without a shape"),
        ("bundles/se", {}, "the path of a folder"),
        ("se", {"shapes": ["1x16x8x8"], "threads": 0}, "received 0 threads"),
        ("se", {"shapes": ["1x16x8x8"], "opset": 11}, "opset 11"),
    ],
)
def test_wrong_arguments_end_before_anything_is_built(target: str, options: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        attn2trt.cost(target, **options)


def test_a_folder_with_the_targets_name_is_no_bundle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "resnet18").mkdir()
    with pytest.raises(InputError, match="a backbone without a block"):
        attn2trt.cost("resnet18")
    with pytest.raises(InputError, match="no minimum above the maximum"):
        replace(QUICK, seconds=0)
