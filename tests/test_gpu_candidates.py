"""The counts of docs/gpu_candidates.md: what is read off builders' logs, the best of each kind, and the tables."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from scripts import load_script

from attn2trt.export.candidate_source import Choice

ROOT = Path(__file__).parents[1]
# names of rewritten nodes hold spaces
LAYER = (
    "Name: node_mul > step 1_myl0_2, LayerType: gemm, Inputs: [ { Name: u > root 5, Dimensions: [-1,4], Strides: "
    "[4,1], StrideOrder: [1,0], Datatype: Half, Format: (Linear) Row }, { Name: x, Dimensions: [-1,8], Strides: [8,1], "
    "StrideOrder: [1,0], Datatype: Float, Format: (Linear) Row }], Constants: [], Outputs: [ { Name: y, Dimensions: "
    "[-1,2], Strides: [2,1], StrideOrder: [1,0], Datatype: Half, Format: (Linear) Row }], TacticName: t, StreamId: 0"
)
TRIED = """
VERBOSE: *************** Autotuning format combination: Half(8,1) -> Half(8,1:2) ***************
VERBOSE: --------------- Timing Runner: PWN(PWN(node_sigmoid), node_mul > row) (PointWiseV2[0x80000028])
VERBOSE: Tactic: 0x0000000000000000 Time: 0.0190761
VERBOSE: Tactic: 0x000000000000000a Time: 0.0164922
VERBOSE: PWN(PWN(node_sigmoid), node_mul > row) (PointWiseV2[0x80000028]) completed. Fastest Tactic: 0x0a Time: 0.001
VERBOSE: *************** Autotuning Reformat: Float(8,1) -> Half(8,1) ***************
VERBOSE: --------------- Timing Runner: cast_to_fp16_x (Reformat[0x80000006])
VERBOSE: Tactic: 0x00000000000003ea Time: 0.0141316
"""


@pytest.fixture
def benchmark() -> ModuleType:
    return load_script("gpu_candidates")


def counted(bytes_moved: int, kernels: int, **more: Any) -> dict[str, Any]:
    moved = {"16": bytes_moved}
    row = {"target": "t", "precision": "fp16", "io": "float16", "candidate": "", "kind": "", "places": 1}
    row |= {"casts": 1, "converting": 0}
    return row | {"parsed": {"CAST": {"HALF": 2}}, "bytes": moved, "if_fused": moved, "kernels": kernels} | more


def test_names_with_spaces_are_read_off_the_log() -> None:
    placement = load_script("int8_placement")
    (layer,) = placement.layers_of(LAYER)
    assert (layer.kind, layer.name) == ("gemm", "node_mul > step 1_myl0_2")
    assert [name for name, _, _ in layer.inputs] == ["u > root 5", "x"]
    assert placement.crossing([layer]) == {"16": 2 * 4 + 2 * 2, "32": 4 * 8}


def test_the_best_of_each_kind_moves_the_fewest_bytes_and_then_has_the_fewest_kernels(benchmark: ModuleType) -> None:
    first, second, third, fourth = (Choice(*pair, 1) for pair in (("a", "k"), ("b", "k"), ("c", "l"), ("d", "m")))
    single = {
        (): counted(10_000_000, 9),
        (first,): counted(9_000_000, 9),
        (second,): counted(8_000_000, 9),
        (third,): counted(10_000_100, 8),  # a small tensor more, a kernel fewer
        (fourth,): counted(10_000_000, 9),
    }
    assert benchmark.best_of_each_kind(single) == (second, third)
    refused = {**single, (second,): {"why_not": "refused"}}
    assert benchmark.best_of_each_kind(refused) == (first, third)


def test_the_best_time_of_each_layer_and_format_is_read_off_the_log() -> None:
    first, second = load_script("tactic_times").timed(TRIED)
    assert first["layer"] == "PWN(PWN(node_sigmoid), node_mul > row)"
    assert (first["kernel"], first["formats"], first["us"]) == ("PointWiseV2", "Half(8,1) -> Half(8,1:2)", 16.49)
    assert (second["kernel"], second["formats"], second["us"]) == ("Reformat", "Float(8,1) -> Half(8,1)", 14.13)


def test_refusals_and_changes_are_told() -> None:
    page = load_script("gpu_candidates_page")
    rows = [
        counted(3_000_000, 4),
        counted(2_000_000, 3, candidate="a", parsed={"CAST": {"HALF": 1}, "REDUCE": {"FLOAT": 1}}),
        {**counted(0, 0, candidate="b"), "why_not": "no kernel for it"},
    ]
    data = {
        "gpu_candidates": {"date": "d", "machine": "m", "versions": {}, "capability": "8.9", "rows": rows}
        | {"shapes": {"block": "1", "image": "2", "axes": "3"}},
        "tactic_times": {"se": importlib.import_module("tactic_times").timed(TRIED)},
    }
    text = page.page(data)
    assert "| a | 1 | 2: -1 cast float16, +1 reduce float32 | 1 | 3 | 0 | 2.0 | 2.0 |" in text
    assert "| t | b | no kernel for it |" in text
    assert "| PWN(PWN(node_sigmoid), node_mul > row) | PointWiseV2 | Half(8,1) -> Half(8,1:2) | 16.5 |" in text
