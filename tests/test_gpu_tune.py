"""The benchmark of tuning on a GPU: up to the missing driver, with stand-ins for its steps, and its page."""

from __future__ import annotations

import importlib
import json
import os
import resource
import signal
import subprocess
import sys
import tarfile
from itertools import pairwise
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from gpu_found import GPU, NO_GPU
from stand_in_run import STAND_IN, events, folder_of, parsed

from attn2trt.engines.environment import ask_driver
from attn2trt.errors import InputError, MissingRequirement

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
TOOL = BENCHMARKS / "gpu_tune.py"
DIFFERENCE = {"ms": -0.01, "low_ms": -0.012, "high_ms": -0.008, "confidence": 0.96, "rounds": 12}
TRIAL = {"form": "pool", "kind": "mean", "count": 1, "before_ms": 0.05, "difference": DIFFERENCE, "kept": True}
LAYER = {"name": "cast_x", "kind": "Reformat", "kernel": "", "precision": "fp32", "ms": 0.06, "least_ms": 0.036}
LAYERS = [
    LAYER,
    {**LAYER, "name": "gate", "kind": "Reduce", "kernel": "sm90|reduce", "precision": "fp16", "ms": 0.05},
    {**LAYER, "name": "scale", "kind": "PointWiseV2", "ms": 0.08, "least_ms": 0.02},
    {**LAYER, "name": "fc", "kind": "Gemm", "ms": 0.004, "least_ms": 0.0001},
    {**LAYER, "name": "open", "kind": "Myelin", "ms": 0.03, "least_ms": None},
    {**LAYER, "name": "nothing", "kind": "NoOp", "ms": None, "least_ms": 0.0},
]


def cost_of(ms: float, least_ms: float) -> dict[str, Any]:
    timing = {"latency": {"median_ms": ms}}
    model = {"timing": timing, "least_ms": least_ms, "layers_ms": ms, "layers": LAYERS}
    rates = {"bytes_per_s": 4.2e12, "launch_ms": 0.003}
    return {"model": model, "rates": rates, "inputs": {"x": [32, 256, 56, 56]}}


def timing(*found: tuple[str, str, float | None]) -> list[dict[str, Any]]:
    return [
        {"what": what, "precision": precision, "input": "float16", "ms": ms, "p90_ms": ms, "why": "" if ms else "wrong"}
        for what, precision, ms in found
    ]


BEHAVIOUR: dict[str, Any] = {
    "export": {"row": {"case": "a", "passed": True}},
    "plan": {"row": {"case": "a", "plans": [{"choices": [], "folder": "f"}]}},
    "time": {"row": {"case": "a", "batch": 8, "timing": timing(("as it is", "fp16", 0.05))}},
    "pytorch": {"row": {"case": "a", "batch": 8, "timing": timing(("eager", "fp16", 0.1))}},
}


@pytest.fixture
def tool(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> ModuleType:
    """The benchmark on a machine with a GPU, with stand-ins for its steps and one small case."""
    monkeypatch.syspath_prepend(BENCHMARKS)
    found = importlib.import_module("gpu_tune")
    work, run = importlib.import_module("gpu.tune_work"), importlib.import_module("gpu.tune_run")
    monkeypatch.setattr(work, "WAVES", ((work.TuneCase("a", "se", "2x8x4x4", batches=(8,)),),))
    monkeypatch.setattr(run, "TOOL", STAND_IN)
    monkeypatch.setattr(run.gpu_tune_page, "RESULTS", tmp_path / "gpu_tune.json")
    monkeypatch.setattr(run.gpu_tune_page, "PAGE", tmp_path / "gpu_tune.md")
    check = importlib.import_module("gpu.check")
    monkeypatch.setattr(check, "WAIT_SECONDS", 0.01)
    monkeypatch.setattr(importlib.import_module("gpu.drive"), "PAUSE_SECONDS", 0.01)
    monkeypatch.setattr(check, "probe", lambda *_: GPU)
    return found


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return folder_of(tmp_path, BEHAVIOUR)


def behave(folder: Path, **more: Any) -> None:
    (folder / "behaviour.json").write_text(json.dumps({**BEHAVIOUR, **more}))


def names(folder: Path) -> set[str]:
    return {path.stem for path in (folder / "rows").glob("*.json")}


ALL = {
    *("export-a", "plan-a-8-fp16", "plain-a-8-fp16", "compile-a-8", "time-a-8", "pytorch-a-8", "cost-a-8-fp16"),
    *("candidates-a-8-fp16", "trial-a-8-fp16", "combine-a-8-fp16", "whole-a-8-fp16"),
}


def test_a_whole_run_writes_every_row_results_page_and_archive_and_a_second_does_nothing(
    tool: ModuleType, folder: Path, tmp_path: Path
) -> None:
    home = tmp_path / "home/tune.tar"
    words = ("--without-tactics", "cudnn", "--level", "2", "--archive", str(home))
    assert tool.main(parsed(tool, folder, *words)) == 0
    assert names(folder) == ALL
    found = json.loads((tmp_path / "gpu_tune.json").read_text())
    assert found == json.loads((folder / "results.json").read_text())
    assert (found["tensorrt"], found["level"], found["without_tactics"]) == ("8.6.0", 2, ["cudnn"])
    assert {row["step"] for row in found["rows"]} == ALL
    assert not any("plans" in row for row in found["rows"])
    assert "| `a` | 8 | 0.0500 | - | - | 0.1000 | - | 2.00 |" in (tmp_path / "gpu_tune.md").read_text()
    with tarfile.open(home) as tar:
        assert {"results.json.gz", "rows/time-a-8.json.gz", "logs/plan-a-8-fp16.log.gz"} <= {*tar.getnames()}
    began = len(events(folder))
    assert tool.main(parsed(tool, folder, *words)) == 0
    assert len(events(folder)) == began


def test_builds_are_stopped_while_something_is_timed_and_go_on(tool: ModuleType, folder: Path) -> None:
    behave(folder, candidates={"seconds": 0.5}, cost={"seconds": 0.1})
    assert tool.main(parsed(tool, folder)) == 0
    at = {(event["step"], event["what"]): event["time"] for event in events(folder)}
    timed = [name for name in ALL if name.startswith(("time", "pytorch", "cost", "trial", "whole"))]
    spans = sorted((at[name, "start"], at[name, "end"]) for name in timed)
    assert all(before[1] <= after[0] for before, after in pairwise(spans))
    assert ("candidates-a-8-fp16", "end") in at


def test_what_failed_keeps_nothing_from_the_rest_and_is_listed(tool: ModuleType, folder: Path, tmp_path: Path) -> None:
    refused = {"row": {"case": "a", "status": "failed", "why": "TensorRT refuses\nnode Mul"}}
    behave(folder, plain=refused, compile={"kill": True})
    assert tool.main(parsed(tool, folder)) == 1
    assert names(folder) == ALL
    text = (tmp_path / "gpu_tune.md").read_text()
    assert "- `plain-a-8-fp16`: TensorRT refuses node Mul" in text
    assert "- `compile-a-8`: was killed by SIGKILL (mostly: out of memory)" in text
    behave(folder)
    assert tool.main(parsed(tool, folder, "--again")) == 0
    assert "What did not work" not in (tmp_path / "gpu_tune.md").read_text()


def test_without_our_plan_nothing_is_tuned_but_the_others_are_timed(tool: ModuleType, folder: Path) -> None:
    behave(folder, plan={"die": True})
    assert tool.main(parsed(tool, folder)) == 1
    assert {"time-a-8", "pytorch-a-8"} <= names(folder)
    left = json.loads((folder / "results.json").read_text())["not_reached"]
    assert left["candidates-a-8-fp16"].startswith("plan-a-8-fp16: ended with exit code 1: Error: it broke")
    assert left["whole-a-8-fp16"].startswith("trial-a-8-fp16: candidates-a-8-fp16: plan-a-8-fp16")


def test_at_the_end_of_the_time_rows_are_kept_and_the_rest_is_listed(
    tool: ModuleType, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    behave(folder, candidates={"seconds": 600})
    arguments = tool.parse([str(folder), "--minutes", "0.05"])
    assert tool.main(arguments) == 0
    assert "time-a-8" in names(folder)
    text = (tmp_path / "gpu_tune.md").read_text()
    assert "## Not reached in 0.05 minutes" in text
    assert "- stopped at the end of the time: `candidates-a-8-fp16`" in text
    assert "- not begun before the end of the time: `trial-a-8-fp16`, `combine-a-8-fp16`" in text
    assert "not reached: candidates-a-8-fp16: stopped at the end of the time" in capsys.readouterr().out
    behave(folder)
    assert tool.main(parsed(tool, folder)) == 0
    assert names(folder) == ALL


def test_rows_of_another_gpu_level_or_code_are_measured_again(
    tool: ModuleType, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def done(*words: str) -> set[str]:
        before = len(events(folder))
        assert tool.main(parsed(tool, folder, *words)) == 0
        return {event["step"] for event in events(folder)[before:]}

    check = importlib.import_module("gpu.check")
    assert done() == ALL
    assert done("--level", "1") == ALL - {"export-a"}
    monkeypatch.setattr(check, "probe", lambda *_: {**GPU, "devices": ["NVIDIA H100"]})
    assert done("--level", "1") == ALL - {"export-a"}
    monkeypatch.setattr(check, "code_hash", lambda _: "another")
    assert done("--level", "1") == ALL


def test_exports_alone_need_no_gpu_and_prove_nothing(
    tool: ModuleType, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gpu.check.probe", lambda *_: NO_GPU)
    assert tool.main(parsed(tool, folder, "--export")) == 0
    assert names(folder) == {"export-a"}
    assert not (tmp_path / "gpu_tune.json").exists()


def test_it_waits_for_the_python_with_tensorrt_and_exports_meanwhile(
    tool: ModuleType, folder: Path, tmp_path: Path
) -> None:
    python = tmp_path / "python-trt"
    behave(folder, export={**BEHAVIOUR["export"], "python": str(python)})
    assert tool.main(parsed(tool, folder, "--python-trt", str(python), "--wait")) == 0
    assert names(folder) == ALL


def test_a_machine_without_a_gpu_is_refused_in_one_line(
    tool: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gpu.check.probe", lambda *_: NO_GPU)
    with pytest.raises(MissingRequirement, match=r"plans are timed on a GPU by TensorRT: no NVIDIA driver .*; run on"):
        tool.main(parsed(tool, tmp_path / "new"))
    assert not [*tmp_path.iterdir()]


@pytest.mark.skipif(bool(ask_driver().devices), reason="this machine has a GPU")
def test_the_command_ends_here_with_exit_code_3_and_writes_nothing(tmp_path: Path) -> None:
    command = [sys.executable, str(TOOL), str(tmp_path / "run"), "--minutes", "1"]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stderr.count("\n")) == (3, 1), ended.stderr
    assert ended.stderr.startswith("error: ")
    assert not [*tmp_path.iterdir()]


def test_wrong_arguments_are_refused(tool: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    for words, why in (
        ([str(tmp_path / "file")], "which is no folder"),
        ([str(tmp_path / "new"), "--wait"], "expected it with --python-trt"),
        ([str(tmp_path / "new"), "--timing-caches", str(tmp_path / "no")], "expected a folder"),
        ([str(tmp_path / "new"), "--python-trt", str(tmp_path / "no")], "expected the path of a Python interpreter"),
        ([str(tmp_path / "new"), "--step", "nonsense"], "received --step nonsense"),
    ):
        with pytest.raises(InputError, match=why):
            tool.main(tool.parse([*words, "--minutes", "1"]))
    for words in (["new"], ["new", "--minutes", "0"], ["new", "--minutes", "1", "--level", "6"]):
        with pytest.raises(SystemExit, match="2"):
            tool.parse(words)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_full_disk_is_exit_code_4_and_what_is_there_can_be_read(tool: ModuleType, folder: Path) -> None:
    """No file may grow beyond a few bytes, as on a full disk, for this process and its steps."""
    child = os.fork()
    if child == 0:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (600, 600))
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        try:
            importlib.import_module("gpu_check").start(lambda: tool.main(parsed(tool, folder)))
        except SystemExit as end:
            os._exit(int(end.code or 0))
        os._exit(99)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 4
    for file in folder.rglob("[!.]*.json"):
        json.loads(file.read_text())


def test_an_archive_that_cannot_be_written_is_exit_code_4(tool: ModuleType, folder: Path) -> None:
    start = importlib.import_module("gpu_check").start
    with pytest.raises(SystemExit) as end:
        start(lambda: tool.main(parsed(tool, folder, "--archive", str(folder / "behaviour.json/tune.tar"))))
    assert end.value.code == 4


def row(kind: str, case: str, batch: int, **more: Any) -> dict[str, Any]:
    step = f"{kind}-{case}-{batch}"
    return {"step": step, "kind": kind, "case": case, "batch": batch, "precision": "fp16", "status": "done", **more}


SE, NET = "se-256x56x56", "resnet50"
DOCUMENT: dict[str, Any] = {
    "date": "2026-01-01",
    "method": "in turn",
    "devices": ["NVIDIA H200"],
    "driver": "CUDA 13.0",
    "tensorrt": "8.6.0",
    "without_tactics": ["cudnn"],
    "level": 2,
    "versions": {"tensorrt": {"python": "3.10.13"}, "pytorch": {"torch": "2.11"}},
    "minutes": 10.0,
    "rows": [
        row("time", SE, 32, timing=timing(("as it is", "fp16", 0.09), ("plain export", "fp16", 0.2))),
        row("pytorch", SE, 32, timing=timing(("eager", "fp16", 0.11), ("torch.compile", "fp16", 0.06))),
        row("cost", SE, 32, cost=cost_of(0.09, 0.02)),
        row(
            "whole",
            SE,
            32,
            is_faster=True,
            timing=timing(("tuned", "fp16", 0.08), ("as it is", "fp16", 0.09), ("plain export", "fp16", None)),
            cost=cost_of(0.08, 0.02),
            tuning={
                "trials": [TRIAL],
                "chosen": ["pool (mean)"],
                "not_tried": {"merge (gate)": "no time was left"},
                "builds": [{"form": "graph as it is", "seconds": 70.2}, {"form": "pool (mean)", "seconds": 9.7}],
            },
        ),
        row("time", f"{NET}-int8", 8, timing=timing(("as it is", "fp16", 1.0), ("as it is", "int8", 1.2))),
        row("cost", f"{NET}-int8", 8, precision="int8", cost=cost_of(1.2, 0.3)),
        row(
            "whole",
            f"{NET}+se-int8",
            8,
            precision="int8-fp16",
            is_faster=True,
            timing=timing(("tuned", "int8-fp16", 0.8), ("as it is", "fp16", 1.0), ("as it is", "int8-fp16", 1.1)),
            cost=cost_of(0.8, 0.3),
            tuning={"trials": [], "chosen": ["float16 in place of 8 bits"], "not_tried": {}, "builds": []},
        ),
        {**row("trial", "cbam-256x56x56", 32), "status": "failed", "why": "it\nbroke"},
    ],
    "not_reached": {"plan-eca-256x56x56-32-fp16": "not begun", "time-eca-256x56x56-32": "not begun"},
}


@pytest.fixture
def pages(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> ModuleType:
    monkeypatch.syspath_prepend(BENCHMARKS)
    found = importlib.import_module("gpu_tune_page")
    monkeypatch.setattr(found, "RESULTS", tmp_path / "gpu_tune.json")
    monkeypatch.setattr(found, "PAGE", tmp_path / "gpu_tune.md")
    return found


@pytest.mark.parametrize(
    "words",
    [
        "NVIDIA H200, driver CUDA 13.0, TensorRT",
        "Without kernels of cudnn",
        "Builder optimization level 2",
        f"| `{SE}` | 32 | 0.0900 | 0.0800 | 0.2000 | 0.1100 | 0.0600 | **0.75** |",
        f"| `{SE}` | 32 | 0.0800 | 0.0322 | **2.48** | 4200 | 0.0800 | 0.0600 |",
        f"| `{NET}-int8` | 8 | 1.0000 | - | - | 1.2000 | **0.83** |",
        f"| `{NET}+se-int8` | 8 | 1.0000 | 1.1000 | 0.8000 | - | 1.25 |",
        f"| `{SE}` | 32 | as fast as torch.compile | cast_x | Reformat | - | fp32 | 0.0600 | 0.0360 |",
        r"| gate | Reduce | sm90\|reduce | fp16 | 0.0500 | 0.0360 | its bytes take that long |",
        "| scale | PointWiseV2 | - | fp32 | 0.0800 | 0.0200 | 4.0 times its bytes: computing, or the kernel |",
        "| fc | Gemm | - | fp32 | 0.0040 | 0.0001 | little but its launch |",
        "| open | Myelin | - | fp32 | 0.0300 | - | its bytes are unknown |",
        f"| `{SE}` | 32 | 1.5 times its bytes | scale |",
        f"| `{NET}-int8` | 8 | int8 faster than fp16 | scale |",
        "| mean | pool | 1 | 0.0500 | -0.0100 | -0.0120 to -0.0080 | kept |",
        "Chosen: pool (mean).",
        "Builds took 10 to 70 s",
        "- not tried, merge (gate): no time was left",
        "- `trial-cbam-256x56x56-32`: it broke",
        f"- `whole-{SE}-32, plain export fp16`: wrong",
        "## Not reached in 10 minutes",
        "- not begun: `plan-eca-256x56x56-32-fp16`, `time-eca-256x56x56-32`",
    ],
)
def test_the_page_tells_what_was_found(pages: ModuleType, words: str) -> None:
    assert words in pages.page(DOCUMENT)


def test_a_page_in_which_every_aim_is_met_says_so(pages: ModuleType) -> None:
    rows = [
        row("time", SE, 32, timing=timing(("as it is", "fp16", 0.05), ("plain export", "fp16", 0.2))),
        row("cost", SE, 32, cost=cost_of(0.05, 0.04)),
    ]
    text = pages.page({**DOCUMENT, "rows": rows, "not_reached": {}})
    assert "No aim was missed in what was reached." in text
    assert "Not reached" not in text


def test_the_page_in_docs_is_that_of_the_stored_results(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(BENCHMARKS)
    found = importlib.import_module("gpu_tune_page")
    stored = json.loads(found.RESULTS.read_text()) if found.RESULTS.exists() else None
    assert found.PAGE.read_text() == found.page(stored)


def test_without_results_the_page_has_no_figure(pages: ModuleType) -> None:
    assert pages.main() == 0
    text = pages.PAGE.read_text()
    assert "No run on a GPU has written results yet" in text
    assert "| 1 | `se-256x56x56` | 32 | fp16, tuned |" in text
    assert pages.page({**DOCUMENT, "rows": [row("plan", SE, 32)]}) == text
