"""The file that each stage of a model runs: the model's graphs, or the very file that they are copies of."""

from __future__ import annotations

from pathlib import Path

import pytest

from attn2trt.core.graph import ModelGraph, OnnxGraph
from attn2trt.validate.stages.graphs import judged_graphs
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
