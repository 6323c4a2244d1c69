"""The run of a user's commands on a GPU: up to the missing driver, and with commands that need none; and its page."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import gpu_found
import pytest

from attn2trt.engines.environment import ask_driver
from attn2trt.errors import MissingRequirement

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
TOOL = BENCHMARKS / "gpu_commands.py"
GPU = {
    **gpu_found.GPU,
    "detail": "",
    "fix": "run on a machine with a GPU",
    "versions": {"python": "3.10.13", "numpy": "2.2.6"},
}
NO_GPU = {**GPU, "devices": [], "driver": "", "status": "unusable", "problem": "no NVIDIA driver"}


@pytest.fixture
def tool(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> ModuleType:
    """The tool on a machine with a GPU, whose steps run in this process."""
    monkeypatch.syspath_prepend(BENCHMARKS)
    found = importlib.import_module("gpu_commands")
    user_run = importlib.import_module("gpu.user_run")
    monkeypatch.setattr(user_run.gpu_commands_page, "RESULTS", tmp_path / "gpu_commands.json")
    monkeypatch.setattr(user_run.gpu_commands_page, "PAGE", tmp_path / "gpu_commands.md")
    monkeypatch.setattr(user_run, "probe", lambda *_: GPU)
    return found


def table() -> list[Any]:
    """An export, a command that does what it has to, one that does not, and one that needs that one."""
    user_commands, checks = (importlib.import_module(f"gpu.user_{name}") for name in ("commands", "checks"))

    def command(name: str, text: str, *, needs: tuple[str, ...] = (), kind: str = "build", **more: Any) -> Any:
        about = {"proves": f"{name} works", "program": "python", "words": ("-c", text), **more}
        return user_commands.Command(name, kind, 1, needs=needs, check=checks.prints("right"), **about)

    return [
        command("export-a", "print('right')", kind="export", place="pytorch"),
        command("good", "print('right | fine')", needs=("export-a",)),
        command("bad", "print('wrong')", needs=("export-a",)),
        command("after-bad", "print('right')", needs=("bad",)),
        command("newer", "print('right')", first="10.0"),
        command("older", "print('right')", before="10.0"),
        command("cuda", "print('right')", place="onnxruntime-gpu"),
    ]


@pytest.fixture
def small(tool: ModuleType, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The tool with a small table; a step is a process that runs its command alone."""
    user_run, user_row = (importlib.import_module(f"gpu.user_{name}") for name in ("run", "row"))
    rows = importlib.import_module("gpu.rows")
    steps = table()
    monkeypatch.setattr(importlib.import_module("gpu.user_commands"), "commands", lambda: steps)
    by_name = {step.name: step for step in steps}

    def command(self: Any, step: Any) -> list[str]:
        rows.write_row(self._folder, user_row.run(by_name[step.name], self.machine, self._setting.mark(step)))
        return [sys.executable, "-c", ""]

    monkeypatch.setattr(user_run.UserRun, "_command", command)
    return tool


def run(tool: ModuleType, folder: Path, *words: str) -> int:
    return int(tool.main(tool.parse([str(folder), "--minutes", "1", *words])))


@pytest.mark.skipif(bool(ask_driver().devices), reason="this machine has a GPU")
def test_without_a_driver_it_ends_with_exit_code_3_and_writes_nothing(tmp_path: Path) -> None:
    results = BENCHMARKS / "results/gpu_commands.json"
    before = results.read_bytes() if results.exists() else None
    command = [sys.executable, str(TOOL), str(tmp_path / "run"), "--minutes", "1"]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 3, ended.stderr
    assert ended.stderr.startswith("error: ")
    assert (results.read_bytes() if results.exists() else None) == before
    assert not list(tmp_path.rglob("rows/*"))


def test_wrong_arguments_end_with_exit_code_2(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    for words in (["file", "--minutes", "0"], ["file", "--minutes", "1"], ["new", "--minutes", "1", "--jobs", "0"]):
        command = [sys.executable, str(TOOL), *words, "--trt-include", "nowhere"]
        assert subprocess.run(command, cwd=tmp_path, capture_output=True, check=False).returncode == 2
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_machine_without_a_gpu_is_refused(tool: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.import_module("gpu.user_run"), "probe", lambda *_: NO_GPU)
    with pytest.raises(MissingRequirement, match="no NVIDIA driver"):
        run(tool, tmp_path / "run")
    assert not list(tmp_path.iterdir())


def test_every_row_is_kept_and_what_is_not_for_this_machine_says_why(small: ModuleType, tmp_path: Path) -> None:
    assert run(small, tmp_path / "run") == 1
    found = json.loads((tmp_path / "gpu_commands.json").read_text())
    assert {row["step"]: row["status"] for row in found["rows"]} == {
        "export-a": "done",
        "good": "done",
        "bad": "failed",
        "older": "done",
    }
    assert found["not_reached"]["after-bad"].startswith("bad: expected /right/; found wrong")
    assert found["not_reached"]["newer"] == "TensorRT 8.6.0 reads no such graph; 10.0 does"
    assert "--onnxruntime-gpu" in found["not_reached"]["cuda"]
    assert (tmp_path / "run/gpu_commands.tar").stat().st_size
    page = (tmp_path / "gpu_commands.md").read_text()
    assert "NVIDIA H200 (compute capability 9.0), driver CUDA 13.0, TensorRT 8.6.0" in page
    assert "**2 of 3 commands did what they have to do**" in page
    assert "- **bad works** (`python -c 'print('\"'\"'wrong'\"'\"')'`): expected /right/; found wrong" in page


def test_a_second_run_takes_up_what_is_there(small: ModuleType, tmp_path: Path) -> None:
    run(small, tmp_path / "run")
    rows = {path: path.stat().st_mtime_ns for path in (tmp_path / "run/rows").iterdir()}
    run(small, tmp_path / "run")
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "run/rows").iterdir()} == rows
    run(small, tmp_path / "run", "--again")
    changed = {path.stem for path in rows if path.stat().st_mtime_ns != rows[path]}
    assert changed == {"bad"}


def test_exports_alone_need_no_gpu_and_prove_nothing(small: ModuleType, tmp_path: Path) -> None:
    assert run(small, tmp_path / "run", "--export") == 0
    assert [path.name for path in (tmp_path / "run/rows").iterdir()] == ["export-a.json"]
    assert not (tmp_path / "gpu_commands.json").exists()


def document() -> dict[str, Any]:
    row = {
        "needs_gpu": True,
        "status": "done",
        "why": "",
        "proves": "verdict and layers, se fp16",
        "command": "attn2trt validate builds/se-fp16 --json",
        "place": "tensorrt",
        "expected": 0,
        "found": "9 comparisons | layers in fp16",
        "seconds": 8.3,
    }
    wrong = {**row, "status": "failed", "why": "a|b", "found": "", "proves": "infer.py runs the plan"}
    died = {"needs_gpu": True, "status": "failed", "step": "cuda", "why": "killed; see logs/cuda.log"}
    return {
        "date": "2026-01-01",
        "method": "in turn",
        "devices": ["NVIDIA H200"],
        "driver": "CUDA 13.0",
        "flavour": "tensorrt",
        "tensorrt": "8.6.0",
        "versions": {"tensorrt": {"python": "3.10.13"}, "pytorch": {"torch": "2.11", "python": "3.12.1"}},
        "without_tactics": ["cudnn"],
        "rows": [row, wrong, died],
        "proves": {"report": "the page of a bundle"},
        "not_reached": {"report": "not begun"},
    }


def test_the_page_says_what_was_proven_where_and_what_was_not(tool: ModuleType) -> None:
    page = importlib.import_module("gpu_commands_page").page(document())
    assert "NVIDIA H200, driver CUDA 13.0, TensorRT 8.6.0." in page
    assert "Without kernels of cudnn." in page
    assert "**1 of 3 commands did what they have to do**" in page
    assert "- the Python with PyTorch: python 3.12.1, torch 2.11" in page
    shown = "attn2trt validate builds/se-fp16 --json"
    line = rf"`{shown}` | TensorRT | 0 | as expected | 9 comparisons \| layers in fp16 | 8 |"
    assert f"| verdict and layers, se fp16 | {line}" in page
    assert rf"- **infer.py runs the plan** (`{shown}`): a\|b" in page
    assert "- `cuda`: killed; see logs/cuda.log" in page
    assert "Not begun:\n\n- the page of a bundle" in page
