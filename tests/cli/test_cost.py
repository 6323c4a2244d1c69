"""``attn2trt cost`` as a user runs it; what it measures is a matter of workflows/test_cost.py."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cost_sample
import pytest
from click.testing import CliRunner, Result

from attn2trt.cli.main import group
from attn2trt.engines.timing.costs import Cost
from attn2trt.engines.timing.method import Method
from attn2trt.report import cost_plot
from attn2trt.workflows import cost as costing


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """The options that the command passes on; nothing is measured."""
    calls: list[dict[str, Any]] = []

    def stand_in(target: str, **arguments: Any) -> Cost:
        calls.append({"target": target, **arguments})
        return cost_sample.added()

    monkeypatch.setattr(costing, "cost", stand_in)
    return calls


def run(*arguments: str) -> Result:
    return CliRunner().invoke(group, ("cost", *arguments))


def test_options_arrive(asked: list[dict[str, Any]]) -> None:
    assert run("se", "--shape", "1x2x3x4", "--seed", "4", "--threads", "2").exit_code == 0
    line = "resnet18+se --seconds 1 --iterations 9 --max-seconds 5 --opset 18"
    assert run(*line.split()).exit_code == 0
    first, second = asked
    assert (first["target"], first["shapes"], first["weights"].seed, first["threads"]) == ("se", ("1x2x3x4",), 4, 2)
    assert first["method"] == Method(rounds=costing.ROUNDS)
    assert second["method"] == Method(seconds=1, iterations=9, max_seconds=5, rounds=costing.ROUNDS)
    assert second["opset"] == 18


@pytest.mark.usefixtures("asked")
def test_json_goes_to_stdout_and_to_the_file(tmp_path: Path) -> None:
    said = run("resnet18+se", "--json", "-o", str(tmp_path / "cost.json"))
    assert said.exit_code == 0
    document = json.loads(said.stdout)
    assert document == json.loads((tmp_path / "cost.json").read_text())
    assert document["added"]["difference"]["ms"] == pytest.approx(1)
    assert [path.name for path in tmp_path.iterdir()] == ["cost.json"]


@pytest.mark.usefixtures("asked")
def test_a_person_gets_tables() -> None:
    said = run("resnet18+se")
    assert "measured difference" in said.stdout
    assert said.stderr == ""


@pytest.mark.usefixtures("asked")
def test_the_plot_is_whole_or_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cost_plot, "require_matplotlib", lambda: None)
    monkeypatch.setattr(cost_plot, "write_plot", lambda found, path, title: path.write_text(found.target))
    assert run("resnet18+se", "--plot", str(tmp_path / "cost.svg")).exit_code == 0
    assert (tmp_path / "cost.svg").read_text() == "resnet18+se"

    def half(_found: Cost, path: Path, *, title: str) -> None:
        path.write_text("half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(cost_plot, "write_plot", half)
    assert run("resnet18+se", "--plot", str(tmp_path / "other.png")).exit_code == 4
    assert [path.name for path in tmp_path.iterdir()] == ["cost.svg"]


def test_a_plot_without_matplotlib_ends_before_anything_is_timed(
    asked: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cost_plot, "find_spec", lambda name: None)
    said = run("resnet18+se", "--plot", "cost.png")
    assert said.exit_code == 3
    assert said.stderr.count("\n") == 1
    assert "pip install matplotlib" in said.stderr
    assert asked == []


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("resnet18",), "a backbone without a block; expected one with the block"),
        (("se",), "without a shape"),
        (("se", "--shape", "1x64"), "expected four sizes"),
        (("see",), "received target 'see'"),
        (("resnet18+see",), "see"),
        (("resnet18+se@stage9",), "expected stage1 to stage4"),
        (("bundles/resnet18+se",), "the path of a bundle; expected a TARGET"),
        (("py:nowhere:make",), "nowhere"),
        (("se+cbam", "--shape", "1x64x8x8"), "expected a backbone there"),
        (("resnet18+se", "--seconds", "0"), "--seconds"),
        (("resnet18+se", "--seconds", "60"), "--max-seconds"),
        (("resnet18+se", "--threads", "0"), "--threads"),
        (("resnet18+se", "--opset", "5"), "opset 5 is not supported"),
        (("resnet18+se", "--plot", "cost.jpg"), "ends in .png or .svg"),
        (("resnet18+se", "--plot", "nowhere/cost.png"), "a folder that does not exist"),
        (("resnet18+se", "-o", "."), "received -o ., a folder"),
    ],
)
def test_bad_input_is_one_line_and_exit_2(
    arguments: tuple[str, ...], words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    said = run(*arguments)
    assert said.exit_code == 2, said.output
    assert said.stdout == ""
    assert said.stderr.count("\n") == 1
    assert words in said.stderr
    assert list(tmp_path.iterdir()) == []
