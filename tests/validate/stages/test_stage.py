"""A stage's label is made from it; only bundles of earlier versions are read by their labels."""

from __future__ import annotations

import json
from itertools import product
from pathlib import Path

import pytest

from attn2trt.core.precision import PRECISIONS
from attn2trt.errors import InputError
from attn2trt.validate.stages.stage import (
    EXPORTED,
    LAYERS,
    ORT_CPU,
    ORT_CUDA,
    ORT_TUNED,
    PLUGIN_GRAPH,
    ROWS,
    RUNTIMES,
    VALUES,
    WRITTEN,
    Stage,
    read_stage,
)
from attn2trt.validate.verdict import Verdict, not_checked

OLD = Path(__file__).parents[2] / "core/format1_coord_att/bundle.json"


@pytest.mark.parametrize(
    ("stage", "label"),
    [
        (Stage(EXPORTED), "torch → onnx"),
        (Stage(WRITTEN), "simplified"),
        (Stage(WRITTEN, "fp16"), "fp16"),
        (Stage(ORT_CPU, "fp16"), "fp16 onnxruntime cpu"),
        (Stage(ORT_CPU, kind=ROWS), "batch consistency"),
        (Stage(ORT_TUNED), "onnxruntime cpu, tuned"),
        (Stage(ORT_TUNED, kind=ROWS), "onnxruntime cpu, tuned, rows"),
        (Stage(ORT_CUDA, kind=ROWS), "onnxruntime cuda, rows"),
        (Stage("tensorrt", "fp32"), "tensorrt fp32"),
        (Stage("tensorrt-rtx", "bf16", LAYERS), "tensorrt-rtx bf16, layers"),
        (Stage("tensorrt", ""), "tensorrt"),
        (Stage(PLUGIN_GRAPH, "fp16"), "fp16 the plugin's gates written out"),
    ],
)
def test_the_label_tells_runtime_precision_and_kind(stage: Stage, label: str) -> None:
    assert (stage.label, str(stage)) == (label, label)
    assert read_stage({"stage": label}) == stage


def test_no_two_stages_share_a_label() -> None:
    stages = [Stage(*parts) for parts in product(RUNTIMES, PRECISIONS, (VALUES, ROWS, LAYERS))]
    labels = {stage.label for stage in stages if not (stage.runtime == EXPORTED and stage.precision != "fp32")}
    assert len(labels) == len(stages) - (len(PRECISIONS) - 1) * 3
    for stage in stages:
        assert read_stage(stage.to_json()) == read_stage({"stage": stage.label}) == stage


def test_an_earlier_version_has_labels_alone_and_one_that_is_renamed() -> None:
    entries = json.loads(OLD.read_text())["verdict"]["stages"]
    assert not any("runtime" in entry for entry in entries)
    stages = [read_stage(entry) for entry in entries]
    labels = [str(entry["stage"]).replace("metamorphic", "batch consistency") for entry in entries]
    assert [stage.label for stage in stages] == labels
    assert Stage(ORT_CPU, kind=ROWS) in stages
    assert {stage.runtime for stage in stages} <= {*RUNTIMES}


def test_a_label_that_nobody_knows_is_kept() -> None:
    assert read_stage({"stage": "a stage of yore"}).label == "a stage of yore"


@pytest.mark.parametrize("change", [{"kind": "guess"}, {"precision": "fp16"}, {"stage": "tensorrt fp32"}])
def test_a_label_of_another_stage_is_refused(change: dict[str, str]) -> None:
    document = Verdict((not_checked(Stage(ORT_CPU), "why"),)).to_json()
    document["stages"][0] |= change
    with pytest.raises(InputError, match="cannot be read"):
        Verdict.from_json(document)
