"""The GPU check's command, up to the missing driver, and with stand-ins for the steps."""

from __future__ import annotations

import importlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from gpu_found import GPU, NO_GPU
from stand_in_run import STAND_IN, events, folder_of, parsed
from waiting import is_running, wait_for

from attn2trt.engines.environment import ask_driver
from attn2trt.errors import MissingRequirement

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
TOOL = BENCHMARKS / "gpu_check.py"
MEASURED = {"model": "target", "status": "measured", "median_ms": 2.0, "p99_ms": 2.0, "on_device_ms": 1.0}
BEHAVIOUR: dict[str, Any] = {
    "export": {"row": {"passed": True}},
    "build": {"row": {"judged": True, "numerics": True, "passed": True, "precision": "fp16"}},
    "plain": {"row": {"precision": "fp16"}},
    "copies": {"row": {"bytes_per_s": 4e12}},
    "time": {"row": {"batch": 8, "timing": [{"runtime": "tensorrt-fp16", **MEASURED}]}},
    "pytorch": {"row": {"batch": 8, "timing": [{"runtime": "pytorch-cuda-fp16", **MEASURED}]}},
}


@pytest.fixture
def tool(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> ModuleType:
    """The benchmark with stand-ins for its steps, on a machine with a GPU, with one wave of two small cases."""
    monkeypatch.syspath_prepend(BENCHMARKS)
    found = importlib.import_module("gpu_check")
    work = importlib.import_module("gpu.work")
    waves = ((work.Case("a", "se", "2x8x4x4", batches=(8,)), work.Case("b", "cbam", "2x8x4x4", batches=(8,))),)
    steps = work.steps
    monkeypatch.setattr(work, "steps", lambda: steps(waves))
    monkeypatch.setattr(work, "cases", lambda: {case.name: case for case in waves[0]})
    monkeypatch.setattr(importlib.import_module("gpu.document"), "cases", work.cases)
    check = importlib.import_module("gpu.check")
    monkeypatch.setattr(check, "STEP", STAND_IN)
    monkeypatch.setattr(check.tensorrt_page, "RESULTS", tmp_path / "tensorrt.json")
    monkeypatch.setattr(check.tensorrt_page, "PAGE", tmp_path / "gpu.md")
    monkeypatch.setattr(check, "WAIT_SECONDS", 0.01)
    monkeypatch.setattr(check, "probe", lambda *_: GPU)
    return found


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return folder_of(tmp_path, BEHAVIOUR)


def test_a_whole_run_writes_results_page_and_archive_and_a_second_does_nothing(
    tool: ModuleType, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert tool.main(parsed(tool, folder, "--without-tactics", "cudnn")) == 0
    found = json.loads((tmp_path / "tensorrt.json").read_text())
    assert found == json.loads((folder / "results.json").read_text())
    assert [found[key] for key in ("devices", "driver", "tensorrt")] == [
        ["NVIDIA H200 (compute capability 9.0)"],
        "CUDA 13.0",
        "8.6.0",
    ]
    assert found["without_tactics"] == ["cudnn"]
    assert (len(found["rows"]), len(found["timing"]), found["not_reached"]) == (2, 4, {})
    assert "| `a` | fp16 | 8 | 1.000 |" in (tmp_path / "gpu.md").read_text()
    assert (folder / "gpu_check.tar").exists()
    assert "time-a-8: done in" in capsys.readouterr().out
    began = len(events(folder))
    assert tool.main(parsed(tool, folder, "--without-tactics", "cudnn")) == 0
    assert len(events(folder)) == began


def test_what_is_timed_runs_while_nothing_else_does(tool: ModuleType, folder: Path) -> None:
    assert tool.main(parsed(tool, folder, "--jobs", "2")) == 0
    spans: dict[str, list[float]] = {}
    for event in events(folder):
        spans.setdefault(event["step"], []).append(event["time"])
    timed = {name: span for name, span in spans.items() if name.startswith(("time", "pytorch"))}
    assert len(timed) == 4
    for name, (began, ended) in timed.items():
        others = [span for other, span in spans.items() if other != name and not other.startswith("export")]
        assert all(other_ended <= began or other_began >= ended for other_began, other_ended in others)


@pytest.mark.parametrize(
    ("row", "code"), [({"passed": False, "why": "layers"}, 1), ({"status": "failed", "why": "node Unique"}, 1)]
)
def test_a_plan_that_did_not_pass_is_exit_code_1(
    tool: ModuleType, folder: Path, row: dict[str, Any], code: int
) -> None:
    changed = {"row": {**BEHAVIOUR["build"]["row"], **row}}
    (folder / "behaviour.json").write_text(json.dumps({**BEHAVIOUR, "build-b-fp16": changed}))
    assert tool.main(parsed(tool, folder)) == code


def test_a_run_without_time_for_any_plan_has_passed_nothing(
    tool: ModuleType, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert tool.main(tool.parse([str(folder), "--minutes", "0.01"])) == 1
    assert "not reached: export-a, export-b: takes about" in capsys.readouterr().out


def test_without_a_gpu_it_builds_what_it_can_and_ends_with_exit_code_3(
    tool: ModuleType, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("gpu.check.probe", lambda *_: {**NO_GPU, "flavour": "tensorrt-rtx"})
    unjudged = {"row": {"judged": False, "numerics": False, "passed": False, "why": "built, not judged"}}
    (folder / "behaviour.json").write_text(json.dumps({**BEHAVIOUR, "build": unjudged}))
    with pytest.raises(MissingRequirement, match=r"no NVIDIA driver .*, so that nothing was run; run on a machine"):
        tool.main(parsed(tool, folder, "--for", "sm89"))
    assert {event["step"] for event in events(folder)} == {
        *("export-a", "export-b", "build-a-fp16", "build-b-fp16"),
    }
    said = capsys.readouterr().out
    assert "time-a-8, pytorch-a-8" in said
    assert ": no NVIDIA driver (libcuda.so.1 is not there)" in said
    assert len(json.loads((folder / "results.json").read_text())["rows"]) == 2
    assert not (tmp_path / "tensorrt.json").exists()
    assert not (tmp_path / "gpu.md").exists()


def test_exports_alone_need_no_gpu(tool: ModuleType, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr("gpu.check.probe")
    assert tool.main(parsed(tool, folder, "--export")) == 0
    assert {event["step"] for event in events(folder)} == {"export-a", "export-b"}
    monkeypatch.setattr("gpu.check.probe", lambda *_: GPU, raising=False)
    assert tool.main(parsed(tool, folder)) == 0
    exports = [event for event in events(folder) if event["step"].startswith("export")]
    assert len(exports) == 4  # the beginning and the end of each: none was done again


def test_exports_go_on_until_the_python_with_tensorrt_is_there(tool: ModuleType, folder: Path) -> None:
    python = folder.parent / "python"
    last = {"export-b": {**BEHAVIOUR["export"], "python": str(python)}}
    (folder / "behaviour.json").write_text(json.dumps({**BEHAVIOUR, **last}))
    assert tool.main(parsed(tool, folder, "--python-trt", str(python), "--wait", "--exports", "1")) == 0
    started = [event["step"] for event in events(folder) if event["what"] == "start"]
    assert started[:2] == ["export-a", "export-b"]
    assert len(started) == len({*started}) == 12
    assert json.loads((folder / "results.json").read_text())["not_reached"] == {}


def test_an_export_that_runs_when_tensorrt_is_there_goes_on(tool: ModuleType, folder: Path) -> None:
    python = folder.parent / "python"
    (folder / "behaviour.json").write_text(
        json.dumps(
            {
                **BEHAVIOUR,
                "export-a": {**BEHAVIOUR["export"], "python": str(python)},
                "export-b": {**BEHAVIOUR["export"], "seconds": 1.0},
            }
        )
    )
    assert tool.main(parsed(tool, folder, "--python-trt", str(python), "--wait", "--exports", "2")) == 0
    started = [event["step"] for event in events(folder) if event["what"] == "start"]
    assert len(started) == len({*started}) == 12


def test_a_python_that_never_comes_ends_with_exit_code_3_and_the_exports_are_kept(
    tool: ModuleType, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(*_: object) -> None:
        raise MissingRequirement("attn2trt does not work in python")

    monkeypatch.setattr("gpu.check.probe", missing)
    monkeypatch.setattr("gpu.estimates.FIRST_GUESS", {"export": (0.1, 0.1)})
    words = ["--python-trt", str(folder / "python"), "--wait"]
    with pytest.raises(MissingRequirement, match="does not work"):
        tool.main(tool.parse([str(folder), "--minutes", "0.03", *words]))
    assert (folder / "rows/export-a.json").exists()


def test_another_tensorrt_means_other_plans_and_the_same_exports(
    tool: ModuleType, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert tool.main(parsed(tool, folder)) == 0
    before = len(events(folder))
    monkeypatch.setattr("gpu.check.probe", lambda *_: {**GPU, "tensorrt": "10.3.0"})
    assert tool.main(parsed(tool, folder)) == 0
    again = {event["step"] for event in events(folder)[before:]}
    assert {"build-a-fp16", "time-a-8"} <= again
    assert not any(name.startswith("export") for name in again)


def run_tool(*words: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, TOOL, *words], capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "--minutes"),
        (["--minutes", "0"], "received '0'; expected a number of minutes above 0"),
        (["--minutes", "nan"], "received 'nan'; expected a number of minutes"),
        (["--minutes", "10", "--jobs", "0"], "received '0'; expected a number of 1 or more"),
        (["--minutes", "10", "--without-tactics", "cublas2"], "invalid choice: 'cublas2'"),
        (["--minutes", "10", "--for", "sm90"], "received --for sm90; expected some of sm75"),
        (["--minutes", "10", "--for", "none"], "received --for none; expected a compute capability"),
        (["--minutes", "10", "--wait"], "received --wait; expected it with --python-trt"),
        (["--minutes", "10", "--python-trt", "/no/python"], "received --python-trt /no/python; expected the path"),
    ],
)
def test_wrong_arguments_are_exit_code_2(tmp_path: Path, words: list[str], said: str) -> None:
    ran = run_tool(tmp_path / "run", *words)
    assert (ran.returncode, said in ran.stderr) == (2, True), ran.stderr
    assert not (tmp_path / "run").exists()


def test_a_file_in_place_of_the_folder_is_exit_code_2(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("kept")
    ran = run_tool(tmp_path / "run", "--minutes", "1")
    assert (ran.returncode, "which is no folder; expected one" in ran.stderr) == (2, True)
    assert (tmp_path / "run").read_text() == "kept"


def test_a_folder_that_cannot_be_made_is_exit_code_4(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("kept")
    ran = run_tool(tmp_path / "file/run", "--minutes", "1", "--export")
    assert (ran.returncode, ran.stderr.count("\n")) == (4, 1)
    assert "Not a directory" in ran.stderr


@pytest.mark.skipif(bool(ask_driver().devices), reason="there is a GPU here")
def test_without_a_gpu_it_ends_in_one_line_with_exit_code_3(tmp_path: Path) -> None:
    ran = run_tool(tmp_path / "run", "--minutes", "1")
    assert ran.returncode == 3
    assert ran.stderr.startswith("error: TensorRT is ")
    assert ran.stderr.count("\n") == 1


def test_a_python_without_attn2trt_is_exit_code_3(tmp_path: Path) -> None:
    (python := tmp_path / "python").write_text("#!/bin/sh\necho 'No module named attn2trt' >&2\nexit 1\n")
    python.chmod(0o755)
    ran = run_tool(tmp_path / "run", "--minutes", "1", "--python-trt", python)
    assert (ran.returncode, ran.stderr) == (
        3,
        f"error: attn2trt does not work in {python} (No module named attn2trt); install it there\n",
    )


DRIVER = """
import sys
sys.path[:0] = [{benchmarks!r}]
import gpu_check
from gpu import check
from pathlib import Path
check.STEP = Path({step!r})
check.probe = lambda *_: {gpu!r}
check.tensorrt_page.is_measured = lambda _: False
gpu_check.start(lambda: gpu_check.main(gpu_check.parse()))
"""


def start_driver(folder: Path) -> subprocess.Popen[str]:
    code = DRIVER.format(benchmarks=str(BENCHMARKS), step=str(STAND_IN), gpu=GPU)
    return subprocess.Popen(
        [sys.executable, "-c", code, folder, "--minutes", "5", "--jobs", "1", "--exports", "1"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 130), (signal.SIGINT, 130), (signal.SIGKILL, -9)])
def test_a_run_that_is_ended_leaves_rows_and_no_process(folder: Path, number: signal.Signals, code: int) -> None:
    slow = {"build": {**BEHAVIOUR["build"], "seconds": 600}}
    (folder / "behaviour.json").write_text(json.dumps({**BEHAVIOUR, **slow}))
    driver = start_driver(folder)
    build = wait_for(lambda: [one for one in events(folder) if one["step"].startswith("build")])[0]
    os.kill(driver.pid, number)
    _, error = driver.communicate()
    assert driver.returncode == code
    assert error == ("interrupted\n" if code == 130 else "")
    assert list((folder / "rows").glob("export-*.json"))
    found = json.loads((folder / "results.json").read_text())
    assert found["not_reached"]
    if number == signal.SIGKILL:  # the stand-in does not ask to die with its parent: the next run ends it
        again = start_driver(folder)
        wait_for(lambda: not is_running(build["pid"]))
        again.terminate()
        again.communicate()
    else:
        assert not is_running(build["pid"])
