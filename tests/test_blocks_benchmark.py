"""The rows and the page of benchmarks/blocks.py, on numbers of our own; the whole run is minutes long."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path
from types import ModuleType
from typing import Any

import onnx
import pytest
from scripts import load_script
from small_graph import healthy

from attn2trt.engines.roofline import Rates
from attn2trt.engines.timing import machine
from attn2trt.engines.timing.core_latency import CoreDistance
from attn2trt.engines.timing.machine import installed_versions

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def blocks() -> ModuleType:
    return load_script("blocks")


def pages() -> ModuleType:
    """The file of the page, which ``blocks`` has imported."""
    return sys.modules["blocks_page"]


def document(ours: float, plain: float, eager: float, other_cores: float = 0.0, distant: int = 0) -> dict[str, Any]:
    """Return the document that the command writes, with torch.compile missing."""

    def row(runtime: str, milliseconds: float) -> dict[str, Any]:
        latency = {"median_ms": milliseconds, "p90_ms": 9.0, "p99_ms": None, "cv": 0.01, "iterations": 99}
        measured = {"latency": latency, "hot": {"median_ms": 1.0}, "round_medians_ms": [milliseconds], "peak_mib": 5.0}
        measured["distant_medians_ms"] = [2 * milliseconds] * distant
        return {"runtime": runtime, "status": "measured", "measurement": {**measured, "inputs_mib": 1.0}}

    absent = {"runtime": "pytorch-compile", "status": "not measured", "why": "no compiler"}
    return {
        "threads": 2,
        "machine": machine.describe(),
        "versions": dict(installed_versions()),
        "method": {"seconds": 3.0, "iterations": 100, "max_seconds": 20.0, "rounds": 24},
        "batches": [{"conditions": {"other_cores": other_cores}}],
        "rows": [row("ort-cpu", ours), row("ort-cpu-plain-export", plain), row("pytorch-eager", eager), absent],
    }


KEPT = {"form": "other", "kept": True}
TRIED = {"trials": [KEPT, {"form": "left", "kept": False}]}
LIMIT = {"least_ms": 0.5, "operators_ms": 0.8}


def test_speed_ups_are_over_the_best_of_the_others(blocks: ModuleType) -> None:
    row = blocks.row_of("se", "1x64x112x112", document(2.0, 4.0, 3.0), TRIED, LIMIT)
    assert row["speed_up"] == {"best": 1.5, "ort-cpu-plain-export": 2.0, "pytorch-eager": 1.5}
    assert row["forms"] == [KEPT]
    assert pages().geometric_mean([2.0, 8.0]) == pytest.approx(4)
    assert pages().geometric_mean([]) is None
    assert blocks.speed_ups({"pytorch-eager": rounds(1.0)}) == {}


def test_ours_is_the_tuned_graph_where_there_is_one(blocks: ModuleType) -> None:
    found = {"ort-cpu": rounds(4.0), "ort-cpu-tuned": rounds(2.0), "pytorch-eager": rounds(3.0)}
    assert blocks.speed_ups(found) == {"best": 1.5, "pytorch-eager": 1.5}


def test_what_slows_down_one_round_slows_down_both(blocks: ModuleType) -> None:
    found = {"ort-cpu": rounds(2.0, 2.0, 9.0, 9.0), "pytorch-eager": rounds(3.0, 3.0, 9.0, 13.5)}
    assert blocks.speed_ups(found)["best"] == 1.5


def rounds(*milliseconds: float) -> dict[str, Any]:
    return {"median_ms": 0.0, "round_medians_ms": list(milliseconds)}


def test_a_limit_is_of_the_graph_at_the_rates(blocks: ModuleType, tmp_path: Path) -> None:
    graph = tmp_path / "graph.onnx"
    fixed = healthy()
    for value in (*fixed.graph.input, *fixed.graph.output):
        for dim, size in zip(value.type.tensor_type.shape.dim, (1, 3, 100, 8), strict=True):
            dim.dim_value = size
    onnx.save(fixed, graph)
    limit = blocks.limit_of(graph, Rates(((1, 1e6),), 1e12, 0.0))
    # 2400 numbers in, as many out, and a weight of three, at a byte for each microsecond
    assert limit["least_ms"] == pytest.approx(4 * (2 * 2400 + 3) / 1e3)


def test_a_tuned_graph_that_takes_much_more_memory_is_reported(blocks: ModuleType) -> None:
    row = blocks.row_of("gam", "4x1024x14x14", document(2.0, 4.0, 3.0), TRIED, LIMIT)
    row["runtimes"]["ort-cpu-tuned"] = {**row["runtimes"]["ort-cpu"], "peak_mib": 12.0}
    assert [text for text in pages().remarks(row) if "holds" in text] == [
        "`gam` at 4x1024x14x14: tuned holds 12 MiB, ort-cpu 5 MiB"
    ]
    row["runtimes"]["ort-cpu-tuned"]["peak_mib"] = 6.0
    assert not [text for text in pages().remarks(row) if "holds" in text]


def test_the_page_has_every_row_the_means_and_what_is_missing(blocks: ModuleType) -> None:
    rows = [
        blocks.row_of("se", "1x64x112x112", document(2.0, 4.0, 3.0), TRIED, LIMIT),
        blocks.row_of("psa", "4x1024x14x14", document(2.0, 16.0, 1.0, other_cores=1.5), TRIED, LIMIT),
    ]
    text = pages().page({"date": "2030-01-01", "rows": rows})
    assert (
        "| `se` | 1x64x112x112 | 2.000 | - | 4.000 | 3.000 | - | 1.50 | 2.00 | 1.50 | 0.500 | 4.0 | 0.800 | 2.5 |"
        in text
    )
    assert "| all | 0.87 | 4.00 | 0.87 | 0.50 |" in text
    assert "pytorch-compile not measured: no compiler" in text
    assert "1.5 cores were busy" in text
    gains = text[text.index("## Blocks that gain nothing") : text.index("## Remarks")]
    assert "`psa`: no exact way to write them was found" in gains
    assert "- `psa` at 4x1024x14x14: pytorch-eager takes 1.00 ms, ours 2.00 ms." in gains
    assert "one after the other, need 0.80 ms" in gains
    assert "at 1x64x112x112" not in gains


@pytest.mark.parametrize("kept", [True, False])
def test_rounds_with_distant_processors_are_reported_and_a_cell_that_kept_them_is_measured_again(
    blocks: ModuleType, kept: bool
) -> None:
    row = blocks.row_of("se", "1x64x112x112", document(2.0, 4.0, 3.0), TRIED, LIMIT)
    assert not pages().disturbed(row)
    row["conditions"]["core_distance"] = asdict(
        CoreDistance(rounds=27, distant=3, kept=kept, least_us=8.6, most_us=34.1)
    )
    assert pages().disturbed(row) == kept
    (remark,) = [text for text in pages().remarks_of(row) if "processors" in text]
    if kept:
        assert remark.startswith(
            "`se` at 1x64x112x112: the processors were far from each other in 3 of 27 rounds (writing "
        )
    else:
        assert remark == "In 3 of 27 rounds the host had moved the processors to distant cores; these were left out."


def test_latencies_that_vary_are_counted_over_all_rows(blocks: ModuleType) -> None:
    rows = [blocks.row_of("se", shape, document(2.0, 4.0, 3.0), TRIED, LIMIT) for shape in blocks.SIX.shapes[:2]]
    assert pages().summed_up(rows) == []
    rows[1]["runtimes"]["ort-cpu"]["cv"] = 0.03
    (told,) = pages().summed_up(rows)
    assert told == "The latency of single calls varies by more than 2.5 % in 1 of 6 measurements."


def test_a_page_on_which_everything_gains_says_nothing_else(blocks: ModuleType) -> None:
    row = blocks.row_of("se", "1x64x112x112", document(2.0, 4.0, 3.0), TRIED, LIMIT)
    row["runtimes"]["ort-cpu-tuned"] = {"status": "measured", "median_ms": 1.0}
    every = [{**row, "block": block} for block in blocks.BLOCKS]
    assert pages().without_gain(every) == []


def test_it_takes_up_where_it_was_interrupted(
    blocks: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str, str]] = []

    def measure(block: str, shape: str, seconds: float, rates: dict[str, Any]) -> dict[str, Any]:
        assert rates == {"rate": 1}
        asked.append((block, shape))
        if len(asked) == 3:
            raise KeyboardInterrupt
        busy = 1.0 if len(asked) == 2 else 0.0
        found: dict[str, Any] = blocks.row_of(block, shape, document(1.0, 2.0, 3.0, other_cores=busy), TRIED, LIMIT)
        return found

    monkeypatch.setattr(blocks, "measure", measure)
    monkeypatch.setattr(blocks, "measured_rates", lambda _seconds: {"rate": 1})
    cells = blocks.SIX._replace(results=tmp_path / "blocks.json")
    monkeypatch.setattr(blocks, "SIX", cells)
    monkeypatch.setattr(blocks, "FURTHER", blocks.FURTHER._replace(results=tmp_path / "further.json"))
    monkeypatch.setattr(blocks, "PAGE", tmp_path / "page.md")
    with pytest.raises(KeyboardInterrupt):
        blocks.main(cells, [], [], 3.0)
    assert blocks.main(cells, [], [], 3.0) == 0
    every = [(block, shape) for block in cells.blocks for shape in cells.shapes]
    # the second was disturbed, the third interrupted
    assert asked == [*every[:3], *every[1:]]
    assert len(json.loads((tmp_path / "blocks.json").read_text())["rows"]) == len(every)
    assert blocks.main(cells, ["se"], [], 3.0) == 0
    assert asked[-4:] == [("se", shape) for shape in blocks.SIX.shapes]
    monkeypatch.setattr(blocks, "code_hash", lambda _rooms: "later")
    assert blocks.main(cells, ["se"], [], 3.0, among=True) == 0
    written = json.loads((tmp_path / "blocks.json").read_text())["rows"]
    assert [(row["block"], row["shape"]) for row in written] == every
    assert {row["block"] for row in written if row["sources"] == "later"} == {"se"}
    text = (tmp_path / "page.md").read_text()
    assert "Some rows were measured with an earlier version" in text
    assert "further" not in text
    assert blocks.main(blocks.FURTHER, ["cbam"], blocks.FURTHER.shapes[:1], 3.0, among=True) == 0
    assert "## Eight further shapes" in (tmp_path / "page.md").read_text()


def test_the_further_shapes_are_drawn_and_compared_with_near_and_with_distant_cores(blocks: ModuleType) -> None:
    shapes = blocks.FURTHER.shapes
    assert len(set(shapes)) == 8
    assert not set(shapes) & set(blocks.SIX.shapes)
    rows = [
        blocks.row_of("cbam", shapes[0], document(2.0, 4.0, 3.0, distant=3), TRIED, LIMIT),
        blocks.row_of("cbam", shapes[1], document(2.0, 1.0, 3.0, distant=2), TRIED, LIMIT),
    ]
    text = "\n".join(pages().further_section({"date": "2030-01-01", "rows": rows}))
    assert f"| `cbam` | {shapes[0]} | 2.000 | - | 4.000 | 3.000 | - | 1.50 | 2.00 | 3 | 1.50 | 2.00 |" in text
    assert f"| `cbam` | {shapes[1]} | 2.000 | - | 1.000 | 3.000 | - | 0.50 | 0.50 | 2 | - | - |" in text
    assert "Least of *best*: `cbam` 0.50." in text
    rows[1]["versions"] = dict.fromkeys(rows[0]["versions"], "0.1")
    text = "\n".join(pages().further_section({"date": "2030-01-01", "rows": rows}))
    name, number = next(iter(rows[0]["versions"].items()))
    assert f"{name} {number} or 0.1" in text


def test_the_results_at_the_further_shapes_are_whole_and_not_behind(blocks: ModuleType) -> None:
    rows = json.loads(blocks.FURTHER.results.read_text())["rows"]
    every = [(block, shape) for block in blocks.FURTHER.blocks for shape in blocks.FURTHER.shapes]
    assert [(row["block"], row["shape"]) for row in rows] == every
    assert min(row["speed_up"]["best"] for row in rows) >= pages().SLOWER
    distant = [row["distant_speed_up"]["ort-cpu-plain-export"] for row in rows if row["distant_speed_up"]]
    assert all(value > 1 for value in distant)
