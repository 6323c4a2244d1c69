"""The blocks, the papers' backbones and the examples in the real parser and builder, in every precision they have."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from attn2trt.modules.block_index import block_names

BENCHMARKS = Path(__file__).parents[3] / "benchmarks"
STORED = json.loads((BENCHMARKS / "results/tensorrt_builds.json").read_text())["rows"]
TARGETS = tuple(dict.fromkeys(row["target"] for row in STORED))
# Built in the default run: a block whose bfloat16 graph TensorRT refused until its HardSwish stayed in float32. Other
# operators that it refuses are asked one by one in test_rtx_operators.py, and kept in float32 in test_precision.py.
CORE = [("coord_att", ("fp32", "fp16", "bf16", "int8", "fp8"))]
ALL = [(name, tuple(row["precision"] for row in STORED if row["target"] == name)) for name in TARGETS]


@pytest.fixture
def builds(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    monkeypatch.setattr(sys, "path", [*sys.path])  # the example's folder is added to it
    return importlib.import_module("tensorrt_builds")


def outcomes(rows: list[dict[str, Any]]) -> dict[str, tuple[str, str]]:
    return {row["precision"]: (row["result"], row["why"]) for row in rows}


@pytest.mark.tensorrt
@pytest.mark.parametrize(
    ("name", "precisions"),
    [*CORE, *(pytest.param(*pair, marks=pytest.mark.slow) for pair in ALL if pair not in CORE)],
)
def test_every_graph_is_built_and_a_missing_one_has_its_reason(
    builds: ModuleType, name: str, precisions: tuple[str, ...]
) -> None:
    stored = outcomes([row for row in STORED if row["target"] == name])
    measured = outcomes(builds.measure(name, precisions))
    assert measured == {precision: stored[precision] for precision in precisions}
    assert {result for result, _ in measured.values()} <= {builds.BUILT, builds.NO_GRAPH}


def test_the_page_has_every_block_backbone_and_example(builds: ModuleType) -> None:
    assert {*block_names()} <= {*TARGETS}
    assert {*builds.TARGETS} == {*TARGETS}
    for name in TARGETS:
        found = outcomes([row for row in STORED if row["target"] == name])
        assert (*found,) == builds.precisions_of(name)
        assert found["fp32"][0] == builds.BUILT
    assert all(row["why"] for row in STORED if row["result"] == builds.NO_GRAPH)


@pytest.mark.tensorrt
def test_a_graph_that_is_refused_is_a_row_with_tensorrts_words(
    builds: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("attn2trt.core.refused_types.REFUSED", {})
    (row,) = builds.measure("coord_att", ("bf16",))
    assert row["result"] == builds.REFUSED
    assert "Only FLOAT, HALF or INT8 input is supported" in row["why"]
    document = {"date": "", "machine": "", "versions": {}, "rows": [row]}
    assert "| `coord_att` | bf16 | " in builds.page(document)
    assert "**refused**" in builds.page(document)
