"""``attn2trt benchmark`` as a user runs it; what it measures is a matter of workflows/test_benchmark.py."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any

import pytest
from cli_run import refused
from cli_run import run as run_command

from attn2trt.cli import benchmark as module
from attn2trt.engines.timing.latency import Latency
from attn2trt.engines.timing.method import Method
from attn2trt.engines.timing.results import Benchmark, Measurement, Row, Status
from attn2trt.workflows import benchmark as benchmarking

LATENCY = Latency.of([1_000_000] * 100)
MEASUREMENT = Measurement("ONNX Runtime 1", "CPU", "float32", LATENCY, LATENCY, (1.0,), 1000.0, None, False, 1.0, 2)


def row(runtime: str, status: Status) -> Row:
    if status == "measured":
        return Row("target", runtime, 1, status, measurement=MEASUREMENT)
    return Row("target", runtime, 1, status, "why not")


def result(*rows: Row) -> Benchmark:
    return Benchmark("se", "", 1, Method(), {}, {}, {1: {"x": (1, 2)}}, {}, rows)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """The options that the command passes on; nothing is measured."""
    calls: list[dict[str, Any]] = []

    def stand_in(target: str, **arguments: Any) -> Benchmark:
        calls.append({"target": target, **arguments})
        return result(row("ort-cpu", "measured"), row("ort-cuda", "not measured"))

    monkeypatch.setattr(benchmarking, "benchmark", stand_in)
    return calls


run = functools.partial(run_command, "benchmark")


def test_options_arrive(asked: list[dict[str, Any]]) -> None:
    assert run("se", "--shape", "1x2", "--seed", "4", "--threads", "2").exit_code == 0
    line = "se --batch 8,1,8 --runtime ort-cpu,tensorrt --runtime ort-cuda --seconds 1 --iterations 9 --max-seconds 5"
    run(*line.split())
    first, second = asked
    assert (first["target"], first["shapes"], first["weights"].seed, first["threads"]) == ("se", ("1x2",), 4, 2)
    assert (first["batches"], first["runtimes"], first["method"]) == ((), (), Method())
    assert (second["batches"], second["runtimes"]) == ((1, 8), ("ort-cpu", "tensorrt", "ort-cuda"))
    assert second["method"] == Method(seconds=1, iterations=9, max_seconds=5)


@pytest.mark.usefixtures("asked")
def test_json_goes_to_stdout_and_to_the_file(tmp_path: Path) -> None:
    said = run("se", "--json", "-o", str(tmp_path / "latency.json"))
    assert said.exit_code == 0
    document = json.loads(said.stdout)
    assert document == json.loads((tmp_path / "latency.json").read_text())
    assert [entry["status"] for entry in document["rows"]] == ["measured", "not measured"]
    assert [path.name for path in tmp_path.iterdir()] == ["latency.json"]
    assert said.stderr == ""


@pytest.mark.usefixtures("asked")
def test_a_person_gets_a_table() -> None:
    shown = run("se")
    assert "ort-cpu" in shown.stdout
    assert "not measured: ort-cuda" in shown.stdout


@pytest.mark.usefixtures("asked")
def test_a_full_disk_takes_no_measurement_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "write_text", refuse)
    shown = run("se", "-o", str(tmp_path / "latency.json"))
    assert (shown.exit_code, "No space left on device" in shown.stderr) == (4, True)
    assert "not measured: ort-cuda" in shown.stdout
    assert not [*tmp_path.iterdir()]


def refuse(*_arguments: Any, **_options: Any) -> None:
    raise OSError(28, "No space left on device")


@pytest.mark.parametrize(
    ("rows", "named", "code"),
    [
        ([row("ort-cpu", "measured")], (), 0),
        ([row("ort-cpu", "measured"), row("ort-cuda", "not measured")], (), 0),
        ([row("ort-cpu", "measured"), row("ort-cuda", "not measured")], ("ort-cuda",), 3),
        ([row("ort-cuda", "not measured")], (), 3),
        ([row("ort-cpu", "measured"), row("ort-cuda", "failed")], (), 1),
        ([row("ort-cpu", "wrong")], ("ort-cpu",), 1),
        ([row("ort-cpu", "measured"), row("ort-cpu-plain-export", "wrong")], (), 0),
    ],
)
def test_exit_codes(rows: list[Row], named: tuple[str, ...], code: int) -> None:
    assert module.exit_code(result(*rows), named) == code


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("se", "--batch", "0"), "--batch 1,8,32"),
        (("se", "--batch", "1,,8"), "--batch 1,8,32"),
        (("se", "--batch", "two"), "--batch 1,8,32"),
        (("se", "--runtime", "ort-gpu"), "expected pytorch-eager"),
        (("se", "--seconds", "60"), "--max-seconds"),
        (("see",), "received target 'see'"),
        (("bundles/nowhere",), "is not a bundle"),
        (("se", "-o", "nowhere/latency.json"), "a folder that does not exist"),
        (("se", "-o", "."), "received -o ., a folder"),
    ],
)
def test_bad_input_is_one_line_and_exit_2(
    arguments: tuple[str, ...], words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert words in refused(run(*arguments))
    assert list(tmp_path.iterdir()) == []
