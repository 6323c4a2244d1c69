"""The examples, deployed as their text says."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
import torch
from safetensors.torch import save_file

import attn2trt
from attn2trt.modules.randomise import randomise
from attn2trt.validate.verdict import Verdict

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
AXES = "batch=1:2:3,height=32:48:65,width=32:48:65"


@pytest.fixture
def csp_backbone(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    monkeypatch.chdir(EXAMPLES)
    monkeypatch.syspath_prepend(str(EXAMPLES))
    yield importlib.import_module("csp_backbone")
    sys.modules.pop("csp_backbone")


def test_a_csp_backbone_with_three_feature_maps(csp_backbone: ModuleType, tmp_path: Path) -> None:
    model = csp_backbone.CspBackbone()
    randomise(model, [torch.rand(4, 3, 64, 64, generator=torch.Generator().manual_seed(0))], seed=0)
    save_file(model.state_dict(), tmp_path / "weights.safetensors")
    bundle = attn2trt.deploy(
        "py:csp_backbone:make",
        shapes=["2x3x48x48"],
        dynamic=AXES,
        weights=attn2trt.Weights(checkpoint=tmp_path / "weights.safetensors"),
        out=tmp_path / "bundle",
    )
    verdict = Verdict.from_json(bundle.manifest["verdict"])
    assert verdict, verdict.first_failure
    assert bundle.manifest["hidden"] == []
    assert [output["shape"][1] for output in bundle.manifest["outputs"]] == [64, 128, 256]
    assert {str(axis) for axis in bundle.axes.values()} == {"1:2:3", "32:48:65"}


def test_fresh_weights_are_reported_to_hide_errors(csp_backbone: ModuleType) -> None:
    from attn2trt.validate.hidden import Hidden

    assert any("batch normalisations still hold mean 0" in said for said in Hidden().findings(csp_backbone.make()))
