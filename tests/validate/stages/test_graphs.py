"""The file that each stage of a model runs: the model's graphs, or the very file that they are copies of."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from attn2trt.core.graph import ModelGraph, OnnxGraph
from attn2trt.validate.cases import Case
from attn2trt.validate.metrics import Reference, measure
from attn2trt.validate.stages.graphs import GraphStages, judged_graphs
from attn2trt.validate.stages.stage import ORT_CPU, ORT_PLAIN, WRITTEN

COPY, SIMPLIFIED, FILE = Path("copy.onnx"), Path("model.onnx"), Path("file.onnx")


def run_by(graph: Path, why_not: str = "", *, itself: Path | None = FILE, precision: str = "fp32") -> dict[str, Path]:
    """Return the file that every stage runs."""
    found, exported = (OnnxGraph(path, 17, (), (), precision=precision) for path in (graph, COPY))
    judged = judged_graphs(ModelGraph(found, exported, why_not, itself), {}, ORT_PLAIN, on_levels=False)
    return {stage.label: one.run_by(stage) for one in judged for stage in one.stages}


@pytest.mark.parametrize("itself", [FILE, None])
def test_a_deployed_file_and_what_was_made_of_it_are_run(itself: Path | None) -> None:
    first = itself or COPY
    assert run_by(SIMPLIFIED, itself=itself) == {ORT_PLAIN: first, WRITTEN: SIMPLIFIED, ORT_CPU: SIMPLIFIED}
    assert run_by(COPY, "onnxsim was killed", itself=itself) == {ORT_PLAIN: first, ORT_CPU: COPY}


def test_a_file_of_which_nothing_is_deployed_is_run_alone() -> None:
    assert run_by(COPY) == {ORT_PLAIN: FILE, ORT_CPU: FILE}


def test_a_graph_that_has_one_stage_is_the_one_that_is_deployed() -> None:
    assert [*run_by(COPY, "onnxsim was killed", precision="fp8").values()] == [COPY]


def test_an_output_that_hardly_moves_with_the_input_is_named_once_for_each_verdict() -> None:
    """Its values differ from place to place alone, as the boxes of a detector that was never trained."""
    anchors = np.broadcast_to(np.arange(64.0), (2, 4, 64)) + np.array([0, 1e-7]).reshape(2, 1, 1)
    case = Case.of("traced", {})
    reference = Reference({"y": anchors}, {"y": anchors}, {"y": measure(anchors.astype(np.float32), anchors)}, 64.0)
    stages = GraphStages(None)
    for _ in range(2):
        stages.open([])
        assert stages.still() == []
        assert [*stages.watch([(case, reference)])] == [(case, reference)]
        assert [one.split(", moved")[0] for one in stages.still()] == ["y along axis 1: indices 0-3 of 4"]
