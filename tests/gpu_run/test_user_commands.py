"""The user's commands: the table of them, what each check takes and refuses, and the row of a command."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import served_bundle
from gpu.user_checks import (
    Check,
    Said,
    compiled,
    deployed,
    failed,
    held_to,
    holds,
    is_near,
    judge,
    judged,
    measured,
    not_checked,
    predicted,
    prints,
    provider_passed,
    refused,
    usable,
    whole,
)
from gpu.user_commands import Command, commands
from gpu.user_files import cut, edited, flipped, plan_of
from gpu.user_row import Machine, run, shown

from attn2trt.core.bundle import open_bundle
from attn2trt.core.file_hashes import verify

COMPARISON = {"case": "traced", "ratio": "0.5", "passed": True, "detail": "fine"}
WRONG = {**COMPARISON, "passed": False, "detail": "90 times PyTorch's own rounding"}


def stage(precision: str, kind: str = "values", status: str = "passed", **more: Any) -> dict[str, Any]:
    end = {"values": "", "batch consistency": ", rows", "layer precision": ", layers"}[kind]
    named = {"stage": f"tensorrt {precision}{end}", "runtime": "tensorrt", "precision": precision, "kind": kind}
    return {**named, "status": status, "why": "", "comparisons": [COMPARISON], **more}


PLAN = [
    stage("fp16"),
    stage("fp16", "batch consistency"),
    stage("fp16", "layer precision", comparisons=[], why="3 in fp16"),
]


def verdict(*stages: Mapping[str, Any], passed: bool = True) -> dict[str, Any]:
    return {"passed": passed, "verdict": {"stages": [*stages]}}


def said(document: Any = "", *, code: int = 0, err: str = "", folder: Path = Path()) -> Said:
    return Said(code, document if isinstance(document, str) else json.dumps(document), err, folder)


RIGHT = verdict(*PLAN)
PREDICTIONS = {"runtimes": [{"runtime": "tensorrt", "precision": "fp16", "images": 4, "changed": 1, "why": ""}]}
CUDA = stage("fp32", runtime="onnxruntime cuda")
LINE = "output (2, 3) largest difference from PyTorch: 0.001"
# a check with output that it takes and what it then says, and output that it must refuse
CASES: list[tuple[Check, Said, str, Said]] = [
    (deployed("fp16"), said(RIGHT), "passed in fp16", said(verdict(stage("fp16", status="failed"), passed=False))),
    (judged("fp16"), said(RIGHT), "0.5 times", said(verdict(*PLAN[:2]))),
    (judged("fp16"), said(RIGHT), "fp16", said(verdict(*PLAN[:2], stage("fp16", "layer precision", "failed")))),
    (judged("fp16"), said(RIGHT), "fp16", said(verdict(stage("fp16", status="not checked"), *PLAN[1:]))),
    (judged("fp16"), said(RIGHT), "fp16", said(verdict(*PLAN, stage("fp32", status="failed"), passed=False))),
    (judged("fp16"), said(RIGHT), "fp16", said(RIGHT, err="note: report.html was not written: a reason")),
    (
        not_checked("fp16", "for sm86"),
        said(verdict(stage("fp16", status="not checked", why="built for sm86"))),
        "not checked: built for sm86",
        said(verdict(stage("fp16"))),
    ),
    (
        not_checked("fp16", "sm86"),
        said(verdict(stage("fp16", status="not checked", why="sm86"))),
        "sm86",
        said(verdict()),
    ),
    (
        failed("90 times"),
        said(verdict(stage("fp16", status="failed", comparisons=[COMPARISON, WRONG]), passed=False), code=0),
        "case traced: 90 times",
        said(RIGHT),
    ),
    (failed("sm86"), said(verdict(stage("fp16", status="failed", why="sm86"), passed=False)), "sm86", said(RIGHT)),
    (refused("sha256"), said(err="error: its sha256 is"), "sha256", said(err="Traceback\nsha256")),
    (refused("sha256"), said(err="error: its sha256 is"), "sha256", said(err="error: no such file")),
    (prints("FAILED"), said("x FAILED"), "FAILED", said("x ok")),
    (is_near(0.01, "running +plans/"), said(LINE, err="running  plans/a"), "0.001", said(LINE, err="running  model")),
    (is_near(0.01), said(LINE), "0.001", said(f"{LINE}\n{LINE.replace('0.001', '0.5')}")),
    (is_near(0.01), said(LINE), "0.001", said(LINE.replace("0.001", "nan"))),
    (
        usable("CUDA"),
        said({"components": [{"name": "CUDA", "status": "usable", "version": "13.0", "detail": ""}]}),
        "CUDA 13.0",
        said({"components": [{"name": "CUDA", "status": "missing", "version": "", "detail": "none"}]}),
    ),
    (provider_passed("fp32"), said(verdict(CUDA)), "fp32 1 comparisons", said(verdict({**CUDA, "status": "failed"}))),
    (provider_passed("fp32"), said(verdict(CUDA)), "fp32", said(verdict({**CUDA, "precision": "fp16"}))),
    (
        predicted("tensorrt", "fp16"),
        said({"predictions": PREDICTIONS}),
        "1 of 4",
        said({"predictions": {"runtimes": []}}),
    ),
    (
        measured("tensorrt-fp16"),
        said({"rows": [{"runtime": "tensorrt-fp16", "status": "measured"}]}),
        "measured",
        said({"rows": [{"runtime": "tensorrt-fp16", "status": "failed", "why": "no"}]}),
    ),
    (whole, said({"passed": True, "findings": [1, 2]}), "2 files", said({"passed": False, "findings": []})),
    (
        held_to("fp32"),
        said({"passed": True, "precision": "fp32", "layers": {"fp32": 3, "fp16": 0}}),
        "held to fp32; layers fp32 3",
        said({**verdict(), "precision": "fp16", "layers": {}}),
    ),
]


@pytest.mark.parametrize(("check", "right", "words", "wrong"), CASES)
def test_a_check_takes_what_is_right_and_nothing_else(check: Check, right: Said, words: str, wrong: Said) -> None:
    found, why = judge(check, 0, right)
    assert (words in found, why) == (True, ""), (found, why)
    for other in (wrong, said("no document")):
        found, why = judge(check, 0, other)
        assert found == ""
        assert why != ""
    assert "exit code 0, expected 1" in judge(check, 1, right)[1]


def test_a_plan_that_is_not_there_was_not_compiled(tmp_path: Path) -> None:
    plan = {"file": "plans/a-fp16.plan", "precision": "fp16", "gpu": "NVIDIA H200", "seconds": 9.0}
    document = {"path": "b", "plans": [plan]}
    assert "not there" in judge(compiled("fp16"), 0, said(document, folder=tmp_path))[1]
    (tmp_path / "b/plans").mkdir(parents=True)
    (tmp_path / "b/plans/a-fp16.plan").write_text("plan")
    assert judge(compiled("fp16"), 0, said(document, folder=tmp_path)) == ("a-fp16.plan in 9 s", "")
    for other in ({**plan, "gpu": ""}, {**plan, "precision": "fp32"}):
        assert judge(compiled("fp16"), 0, said({**document, "plans": [other]}, folder=tmp_path))[1] != ""


def test_a_page_holds_its_words(tmp_path: Path) -> None:
    (tmp_path / "page.html").write_text("tensorrt fp16, layers")
    assert judge(holds("page.html", "tensorrt fp16"), 0, said(folder=tmp_path))[1] == ""
    assert "has no fp8" in judge(holds("page.html", "fp8"), 0, said(folder=tmp_path))[1]
    assert judge(holds("nowhere.html", "fp8"), 0, said(folder=tmp_path))[1] != ""


def test_the_table_names_what_there_is() -> None:
    table = commands()
    names = [command.name for command in table]
    assert len(set(names)) == len(names)
    for place, command in enumerate(table):
        earlier = set(names[:place])
        assert {*command.needs, *command.after} <= earlier, command.name
        assert command.proves
        assert command.needs_gpu or command.place == "pytorch"
        built = {f"builds/{name.removeprefix('compile-')}" for name in names if name.startswith("compile-")}
        for word in command.words:
            if word.startswith("{plan:"):
                assert word[6:-1] in {*built, "builds/flipped"}
    pools = {command.name: command.pool for command in table}
    assert [pools[name] for name in ("export-se", "compile-se-fp16", "foreign-plan")] == ["export", "build", "build"]
    assert [pools[name] for name in ("validate-se-fp16", "flipped-verify", "benchmark")] == ["light", "light", "alone"]
    assert {command.kind for command in table} == {"export", "build", "time"}
    assert {command.code for command in table} == {0, 1, 2}


def test_wrong_bundles_are_wrong_in_what_they_shall_be(tmp_path: Path) -> None:
    served_bundle.write(tmp_path / "b", plans=[served_bundle.plan()])
    flipped("b", "bad")(tmp_path)
    assert [finding.file for finding in verify(tmp_path / "bad") if not finding.ok] == [
        str(plan_of(tmp_path / "bad").relative_to(tmp_path / "bad"))
    ]
    edited("b", "other", {"capabilities": ["7.5"]})(tmp_path)
    assert open_bundle(tmp_path / "other").manifest["plans"][0]["capabilities"] == ["7.5"]
    assert all(finding.ok for finding in verify(tmp_path / "other"))
    cut("b/model.onnx", "half")(tmp_path)
    assert (tmp_path / "half").stat().st_size == (tmp_path / "b/model.onnx").stat().st_size // 2
    assert all(finding.ok for finding in verify(tmp_path / "b"))


def python(text: str, check: Check, code: int = 0) -> Command:
    words = ("-c", text)
    return Command("one", "build", 1, proves="Python runs", program="python", words=words, check=check, code=code)


def test_a_row_has_the_command_and_what_came_of_it_and_no_place_of_the_machine(tmp_path: Path) -> None:
    machine = Machine(tmp_path, sys.executable)
    text = "import os, sys; print(os.getcwd()); sys.exit('error: in /opt/some/place/file.py')"
    row = run(python(text, prints("error: .*"), code=1), machine, "of now")
    assert (row["status"], row["code"], row["why"], row["place"]) == ("done", 1, "", "tensorrt")
    assert row["found"] == "error: in …/file.py"
    assert "tail" not in row
    row = run(python(text, prints("nothing")), machine, "of now")
    assert (row["status"], row["passed"]) == ("failed", False)
    assert "ended with exit code 1, expected 0: error: in …/file.py" in row["why"]
    assert "FOLDER" in row["tail"]
    assert str(tmp_path) not in json.dumps(row)
    compiling = next(command for command in commands() if command.name == "compile-se-fp16")
    assert shown(compiling) == ("attn2trt compile builds/se-fp16 --precision fp16 --level 1 --json")


def test_a_command_that_cannot_start_is_a_row_too(tmp_path: Path) -> None:
    row = run(python("", prints("x")), Machine(tmp_path, str(tmp_path / "no-python")), "of now")
    assert (row["status"], row["code"]) == ("failed", None)
    assert "it was not run" in row["why"]
