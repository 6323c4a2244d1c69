"""The attacks: every row of before has one, they are drawn evenly and by a seed, and a broken criterion counts."""

from __future__ import annotations

import importlib
import itertools
import json
from collections import Counter
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from scripts import load_script

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    return load_script("attack")


def test_each_row_of_before_has_attacks(tool: ModuleType) -> None:
    assert set(tool.ROWS) == set(tool.BEFORE["rows"])
    assert all(row.variations for row in tool.ROWS.values())
    assert sum(row["tried"] for row in tool.BEFORE["rows"].values() if "commit" not in row) == 774


def test_drawing_is_even_and_seeded(tool: ModuleType) -> None:
    def first(seed: int) -> list[tuple[str, int]]:
        drawn = itertools.islice(tool.drawn(tool.ROWS, seed, once=False), 50)
        return [(row.name, number) for row, number in drawn]

    counts = Counter(name for name, _ in first(1))
    assert set(counts) == set(tool.ROWS)
    assert max(counts.values()) - min(counts.values()) <= 1
    assert first(1) == first(1) != first(2)


def test_without_a_time_each_variation_is_drawn_once(tool: ModuleType) -> None:
    counts = Counter(row.name for row, _ in tool.drawn(tool.ROWS, 0, once=True))
    assert counts == {name: len(row.variations) for name, row in tool.ROWS.items()}


def test_each_variation_is_played_before_one_comes_again(tool: ModuleType, tmp_path: Path) -> None:
    played: list[str] = []
    row = tool.Row("files", ["a", "b", "c"], lambda scene, name: played.append(f"{name} {scene.random.random()}"))
    for _ in range(2):
        for number in range(6):
            tool.play(row, number, 3, tmp_path, tmp_path)
    assert played[:6] == played[6:]
    assert [sorted(name[0] for name in played[start : start + 3]) for start in (0, 3)] == [["a", "b", "c"]] * 2
    assert list(tmp_path.iterdir()) == []


def refuses(scene: Any, code: str) -> None:
    """Ask for a bundle that is not there, which ends with 2 and one line."""
    scene.expect(scene.run("verify", "nowhere"), {int(code)})


def leaves(scene: Any, _name: str) -> None:
    (scene.folder / ".left").touch()
    scene.clean(".")


def is_missing(scene: Any, _name: str) -> None:
    raise importlib.import_module("attacks").NotRun("no such call here")


def test_a_broken_criterion_is_counted_as_not_held(tool: ModuleType, tmp_path: Path) -> None:
    def result(attack: Any, variation: str) -> Any:
        return tool.play(tool.Row("at once", [variation], attack), 0, 0, tmp_path, tmp_path)

    trials = [result(refuses, "2"), result(refuses, "0"), result(leaves, "x"), result(is_missing, "x")]
    assert [trial.held for trial in trials] == [True, False, False, False]
    assert trials[1].broken[0].startswith("exit code 2, expected [0]: error: ")
    assert trials[1].steps == ("attn2trt verify nowhere",)
    assert trials[2].broken == ("left in .: .left",)
    document = tool.summary(trials, 0, 1.0)
    row = next(row for row in document["rows"] if row["row"] == "at once")
    assert (row["tried"], row["held"], row["not_run"]) == (3, 1, ["no such call here"])
    assert [failure["number"] for failure in row["failures"]] == [0, 0]
    assert all(row["not_run"] == ["it was not drawn"] for row in document["rows"] if row["row"] != "at once")
    page = tool.page(document)
    assert "--seed 0 --again 'at once' 0`" in page
    assert "left in .: .left" in page
    assert "- tried 3, held 1\n" in page


def test_a_row_that_is_played_alone_leaves_the_others_as_they_were_stored(
    tool: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(tool, "RESULTS", tmp_path / "attack.json")
    stored = tool.summary([tool.Trial("signals", 0, "x", (), ())], 7, 3.0)
    tool.RESULTS.write_text(json.dumps(stored))
    failed = tool.Trial("ONNX files", 4, "x", (), ("why",))
    written = tool.beside_stored(tool.summary([failed], 1, None), ["ONNX files"])
    rows = {row["row"]: row for row in written["rows"]}
    assert (rows["signals"]["tried"], rows["ONNX files"]["tried"], written["seed"]) == (1, 1, 7)
    page = tool.page(written)
    assert "`python benchmarks/attack.py --minutes 3 --seed 7`" in page
    assert "ONNX files: `python benchmarks/attack.py --row 'ONNX files' --seed 1` on" in page
    assert "--seed 1 --again 'ONNX files' 4`" in page


def test_a_command_that_does_not_end_is_killed_and_has_not_held(tool: ModuleType, tmp_path: Path) -> None:
    def hangs(scene: Any, _name: str) -> None:
        ran = scene.start("--version", around=("bash", "-c", "sleep 60; true")).wait(0.3)
        scene.expect(ran, {0})

    trial = tool.play(tool.Row("signals", ["x"], hangs), 0, 0, tmp_path, tmp_path)
    assert not trial.held
    assert "did not end within 0.3 s" in trial.broken[0]
