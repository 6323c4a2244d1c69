"""``attn2trt cost`` as a user runs it; what it measures is a matter of workflows/test_cost.py."""

from __future__ import annotations

import functools
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import cost_sample
import pytest
import served_bundle
from cli_run import refused
from cli_run import run as run_command

from attn2trt.engines.environment import ask_driver
from attn2trt.engines.timing.costs import Cost
from attn2trt.engines.timing.device_costs import DeviceCost
from attn2trt.engines.timing.method import Method
from attn2trt.report import cost_plot
from attn2trt.workflows import cost as costing
from attn2trt.workflows import cost_plan
from attn2trt.workflows.plan_bench import METHOD


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """The options that the command passes on; nothing is measured."""
    calls: list[dict[str, Any]] = []

    def stand_in(target: str, **arguments: Any) -> Cost:
        calls.append({"target": target, **arguments})
        return cost_sample.added()

    monkeypatch.setattr(costing, "cost", stand_in)
    return calls


run = functools.partial(run_command, "cost")


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
    said = run("resnet18+se", "--plot", str(tmp_path / "other.png"))
    assert (said.exit_code, "measured difference" in said.stdout) == (4, True)
    assert [path.name for path in tmp_path.iterdir()] == ["cost.svg"]


def test_a_plot_without_matplotlib_ends_before_anything_is_timed(
    asked: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cost_plot, "find_spec", lambda name: None)
    assert "pip install matplotlib" in refused(run("resnet18+se", "--plot", "cost.png"), 3)
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
        (("bundles/resnet18+se",), "the path of a folder; expected a TARGET"),
        (("py:nowhere:make",), "nowhere"),
        (("se+cbam", "--shape", "1x64x8x8"), "expected a backbone there"),
        (("resnet18+se", "--seconds", "0"), "--seconds"),
        (("resnet18+se", "--seconds", "60"), "--max-seconds"),
        (("resnet18+se", "--threads", "0"), "--threads"),
        (("resnet18+se", "--threads", "100000"), "received 100000 threads; expected 1 to 1024"),
        (("resnet18+se", "--opset", "5"), "received opset 5; expected 17 to 23"),
        (("resnet18+se", "--plot", "cost.jpg"), "ends in .png or .svg"),
        (("resnet18+se", "--plot", "nowhere/cost.png"), "a folder that does not exist"),
        (("resnet18+se", "-o", "."), "received -o ., a folder"),
    ],
)
def test_bad_input_is_one_line_and_exit_2(
    arguments: tuple[str, ...], words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert words in refused(run(*arguments))
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def on_gpu(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """The arguments that the command passes on for a plan; nothing is measured."""
    calls: list[dict[str, Any]] = []

    def stand_in(bundle: str, **arguments: Any) -> DeviceCost:
        calls.append({"bundle": bundle, **arguments})
        return cost_sample.on_device()

    monkeypatch.setattr(cost_plan, "cost_plan", stand_in)
    return calls


def test_a_plans_options_arrive(on_gpu: list[dict[str, Any]], tmp_path: Path) -> None:
    line = f"{tmp_path} --runtime tensorrt --precision fp16 --backbone {tmp_path} --shape 8x3x4x4 --seconds 1"
    assert run(*line.split()).exit_code == 0
    (call,) = on_gpu
    assert (call["bundle"], call["backbone"]) == (str(tmp_path), tmp_path)
    assert (call["flavour"], call["precision"], call["shapes"]) == ("tensorrt", "fp16", ("8x3x4x4",))
    assert call["method"] == replace(METHOD, seconds=1)
    assert run(str(tmp_path), "--runtime", "tensorrt-rtx").exit_code == 0
    assert (on_gpu[1]["flavour"], on_gpu[1]["precision"], on_gpu[1]["backbone"]) == ("tensorrt-rtx", "fp32", None)
    assert run(str(tmp_path), "--runtime", "tensorrt", "--tuned").exit_code == 0
    assert [call["tuned"] for call in on_gpu] == [False, False, True]


@pytest.mark.usefixtures("on_gpu")
def test_a_plans_cost_is_a_document_and_tables(tmp_path: Path) -> None:
    (folder := tmp_path / "bundle").mkdir()
    said = run(str(folder), "--runtime", "tensorrt", "--json", "-o", str(tmp_path / "cost.json"))
    assert said.exit_code == 0
    document = json.loads(said.stdout)
    assert document == json.loads((tmp_path / "cost.json").read_text())
    assert (document["command"], document["runtime"]) == ("attn2trt cost", "tensorrt")
    said = run(str(folder), "--runtime", "tensorrt")
    assert "The block costs" in said.stdout
    assert said.stderr == ""


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("resnet18+se", "--precision", "fp16"), "received --precision without a GPU's runtime"),
        (("resnet18+se", "--tuned"), "received --tuned without a GPU's runtime"),
        (("resnet18+se", "--backbone", "."), "add --runtime tensorrt, or leave --backbone out"),
        (("resnet18+se", "--runtime", "tensorrt"), "expected a bundle with a plan"),
        (("bundles/none", "--runtime", "tensorrt"), "received bundles/none, which is no folder"),
        ((".", "--runtime", "tensorrt"), "is not a bundle"),
        ((".", "--runtime", "tensort"), "'tensort' is not one of"),
        ((".", "--runtime", "tensorrt", "--precision", "fp17"), "received precision 'fp17'"),
        ((".", "--runtime", "tensorrt", "--plot", "cost.png"), "received --plot with --runtime tensorrt"),
        ((".", "--runtime", "tensorrt", "--seed", "3"), "received --seed with --runtime tensorrt"),
        ((".", "--runtime", "tensorrt", "--pretrained"), "received --pretrained with"),
        ((".", "--runtime", "tensorrt", "--random-weights"), "received --random-weights with"),
        ((".", "--runtime", "tensorrt", "--dynamic", "batch"), "received --dynamic with"),
        ((".", "--runtime", "tensorrt", "--opset", "18"), "received --opset with"),
        ((".", "--runtime", "tensorrt", "--threads", "2"), "received --threads with"),
        ((".", "--runtime", "tensorrt", "--seconds", "60"), "--max-seconds"),
    ],
)
def test_bad_input_for_a_plan_is_one_line_and_exit_2(
    arguments: tuple[str, ...], words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    test_bad_input_is_one_line_and_exit_2(arguments, words, tmp_path, monkeypatch)


def test_a_machine_without_a_gpu_is_exit_3(tmp_path: Path) -> None:
    plans = [served_bundle.plan("9.0", "fp16", tensorrt="8.6.0")]
    bundle = served_bundle.write(tmp_path / "model", precisions=("fp32", "fp16"), plans=plans)
    if ask_driver().devices:
        pytest.skip("there is a GPU here")
    missing = refused(run(bundle, "--runtime", "tensorrt", "--precision", "fp16"), 3)
    assert "run on a machine with an NVIDIA GPU" in missing
    assert f"run attn2trt compile {bundle} --precision fp32" in refused(run(bundle, "--runtime", "tensorrt"))
