"""A sweep from its file to its folder, with commands that take no time: deaths, failures, what is known again."""

from __future__ import annotations

import csv
import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from waiting import is_running, wait_for_text

from attn2trt.core.channel import Message
from attn2trt.core.lock import try_lock
from attn2trt.core.processes import STAGE_SECONDS
from attn2trt.core.worker import Worker
from attn2trt.errors import InputError, StorageError
from attn2trt.workflows.sweep import Progress, Sweep, sweep


def run(*targets: str, verbs: tuple[str, ...] = ("check",), out: str = "out", **more: Any) -> Sweep:
    document = {"verbs": [*verbs], "targets": [*targets], **more.pop("document", {})}
    return sweep(document, out=out, **more)


def ran(folder: Path, target: str) -> int:
    """How often the command ran."""
    return len(list((folder / "ran").glob(f"{target}.*")))


def processes(folder: Path, *targets: str) -> list[str]:
    """The process that ran each last."""
    return [max((folder / "ran").glob(f"{target}.*")).read_text() for target in targets]


def test_jobs_share_a_process_until_one_ends_without_a_verdict(stand_in: Path) -> None:
    targets = ("a", "fails", "b", "refused", "c", "dies", "d")
    found = run(*targets, jobs=1)
    assert [row.status for row in found.rows] == ["passed", "failed", "passed", "refused", *["passed"] * 3]
    a, fails, b, refused, c, dies, d = processes(stand_in, *targets)
    assert a == fails == b == refused
    assert len({b, c, dies}) == 3
    assert d != c
    outputs = [stand_in / f"out/{target}.fp32/check/output.json" for target in targets if target != "refused"]
    assert [json.loads(output.read_text())["target"] for output in outputs] == ["a", "fails", "b", "c", "dies", "d"]
    assert not (stand_in / "out/b.fp32/check/errors.txt").exists()


def test_what_a_user_wrote_shares_its_process_with_nothing(stand_in: Path) -> None:
    for name in ("one.py", "two.py"):
        (stand_in / name).touch()
    targets = ("a", "one.py", "two.py", "b")
    assert bool(run(*targets, jobs=1))
    assert len({*processes(stand_in, *targets)}) == 4


def test_a_time_limit_is_that_of_one_job(stand_in: Path) -> None:
    found = run("limited", "slow", "limitedlate", "after", jobs=1)
    assert [row.status for row in found.rows] == ["passed", "passed", "failed", "passed"]
    assert "waiting: the process did not finish within 0.2 s (--time-limit)" in found.rows[2].found
    limited, slow, late, after = processes(stand_in, "limited", "slow", "limitedlate", "after")
    assert limited == slow == late != after
    # each began with the command's own limit, not with that of the job before it
    outputs = [
        json.loads((stand_in / f"out/{name}.fp32/check/output.json").read_text()) for name in ("limited", "slow")
    ]
    assert [output["limit"] for output in outputs] == [STAGE_SECONDS] * 2


def test_a_process_that_has_grown_is_replaced(stand_in: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STAND_IN_KEPT", "1000")
    assert bool(run("a", "b", jobs=1))
    assert len({*processes(stand_in, "a", "b")}) == 2


def test_what_is_timed_has_the_machine_for_itself(stand_in: Path) -> None:
    targets = [f"slow{number}" for number in range(3)]
    found = run(*targets, verbs=("check", "cost"), jobs=3)
    assert {row.status for row in found.rows} == {"passed"}
    documents = [json.loads((stand_in / f"out/{target}/cost/cost.json").read_text()) for target in targets]
    assert [document["others"] for document in documents] == [0, 0, 0]
    assert [document["left"] for document in documents] == [[], [], []]
    assert found.rows[1].found == "1.5 ms"


def test_a_failure_keeps_no_other_from_being_run_and_gives_the_code(stand_in: Path) -> None:
    found = run("fine", "refused", "fails", "more")
    assert [(row.status, row.exit_code) for row in found.rows] == [
        ("passed", 0),
        ("refused", 2),
        ("failed", 1),
        ("passed", 0),
    ]
    assert found.rows[1].found == "received it; expected another; correct it"
    assert (bool(found), found.exit_code) == (False, 1)
    document = json.loads((stand_in / "out/sweep.json").read_text())
    assert document["command"] == "attn2trt sweep"
    assert [job["status"] for job in document["jobs"]] == ["passed", "refused", "failed", "passed"]
    lines = list(csv.DictReader((stand_in / "out/sweep.csv").read_text().splitlines()))
    assert [line["exit_code"] for line in lines] == ["0", "2", "1", "0"]
    assert (stand_in / "out/refused.fp32/check/errors.txt").read_text().startswith("error: received it")


def test_a_job_that_is_killed_runs_again_and_that_is_shown(stand_in: Path) -> None:
    lines: list[Progress] = []
    found = run("dies", "fine", progress=lines.append, jobs=2)
    assert [(row.status, row.attempts) for row in found.rows] == [("passed", 2), ("passed", 1)]
    (died,) = [str(line) for line in lines if line.event.kind == "died"]
    assert "check dies.fp32: died on this machine, to be run again: its process was killed by SIGKILL" in died
    assert str(lines[-1]).startswith("[2/2] check")


def test_a_job_that_is_always_killed_is_no_verdict(stand_in: Path) -> None:
    found = run("dies always", "fine", retries=1)
    assert [(row.status, row.exit_code, row.attempts) for row in found.rows] == [("died", 1, 2), ("passed", 0, 1)]
    assert "was killed by SIGKILL (mostly: out of memory)" in found.rows[0].found
    assert ran(stand_in, "dies always") == 2
    assert found.exit_code == 1
    # a later run does not take it for a result
    again = run("dies always", "fine", retries=0, resume=True)
    assert [row.reused for row in again.rows] == [False, False]


def test_a_worker_that_is_killed_costs_no_job(stand_in: Path) -> None:
    found = run("worker", "slow", jobs=2)
    assert [row.status for row in found.rows] == ["passed", "passed"]
    assert found.rows[0].attempts == 2


def test_a_bundle_goes_from_job_to_job_and_results_are_known_again(stand_in: Path) -> None:
    first = run("se", "eca", verbs=("deploy",))
    assert [row.status for row in first.rows] == ["passed", "passed"]
    assert (stand_in / "out/se.fp32/deploy/bundle/bundle.json").is_file()
    again = run("se", "eca", "cbam", verbs=("deploy",), resume=True)
    assert [(row.status, row.reused) for row in again.rows] == [("passed", True), ("passed", True), ("passed", False)]
    assert [row.key for row in again.rows[:2]] == [row.key for row in first.rows]
    assert (ran(stand_in, "se"), ran(stand_in, "cbam")) == (1, 1)
    # another option is another job; a changed bundle is no result; --force runs all
    shaped = {"deploy": {"shape": "1x3x8x8"}}
    assert [row.reused for row in run("se", verbs=("deploy",), resume=True, document=shaped).rows] == [False]
    (stand_in / "out/eca.fp32/deploy/bundle/model.onnx").write_bytes(b"changed")
    assert [row.reused for row in run("eca", "cbam", verbs=("deploy",), resume=True).rows] == [False, True]
    assert [row.reused for row in run("eca", verbs=("deploy",), force=True).rows] == [False]


def test_what_another_machine_timed_is_run_again(stand_in: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run("se", verbs=("deploy", "cost"))
    verbs = ("deploy", "cost")
    assert [row.reused for row in run("se", verbs=verbs, resume=True).rows] == [True, True]
    monkeypatch.setattr("attn2trt.workflows.sweeps.local.machine_here", lambda: {"cpu": "another"})
    assert [row.reused for row in run("se", verbs=verbs, resume=True).rows] == [True, False]


def test_a_result_that_was_edited_is_run_again(stand_in: Path) -> None:
    run("se", verbs=("deploy",))
    result = stand_in / "out/se.fp32/deploy/result.json"
    result.write_text(result.read_text().replace('"code": 0', '"code": 1'))
    assert [(row.status, row.reused) for row in run("se", verbs=("deploy",), resume=True).rows] == [("passed", False)]


def test_what_a_user_wrote_is_run_again_and_deploy_decides(stand_in: Path) -> None:
    (stand_in / "net.py").write_text("x = 1\n")
    first = run("net.py", verbs=("deploy",))
    assert [row.reused for row in run("net.py", verbs=("deploy",), resume=True).rows] == [False]
    (stand_in / "net.py").write_text("x = 2\n")
    assert run("net.py", verbs=("deploy",), resume=True).rows[0].key != first.rows[0].key


def test_a_result_that_was_not_finished_is_run_again(stand_in: Path) -> None:
    run("se", "eca", verbs=("deploy",))
    (stand_in / "out/se.fp32/deploy/result.json").unlink()
    (stand_in / "out/eca.fp32/deploy/result.json").write_text("{")
    left = stand_in / "out/se.fp32/.work-deploy-7-1"
    left.mkdir()
    found = run("se", "eca", verbs=("deploy",), resume=True)
    assert [(row.status, row.reused) for row in found.rows] == [("passed", False), ("passed", False)]
    assert not left.exists()


def test_the_table_of_an_interrupted_sweep_is_kept_by_its_results(stand_in: Path) -> None:
    code = (
        "import sys, signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        f"sys.path.insert(0, {str(Path(__file__).parent)!r})\n"
        "import stand_in, attn2trt.core.processes as processes\n"
        f"processes.command = lambda *_: [sys.executable, {str(Path(__file__).with_name('stand_in.py'))!r}]\n"
        "from attn2trt.workflows.sweep import sweep\n"
        "sweep({'verbs': ['check'], 'targets': ['fine', 'hangs']}, out='out', jobs=1)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code], cwd=stand_in, stderr=subprocess.PIPE, text=True)
    hanging = int(wait_for_text(stand_in / "ran/hangs.0", of=process))
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert not is_running(hanging)
    assert (stand_in / "out/fine.fp32/check/result.json").is_file()
    assert not (stand_in / "out/hangs.fp32/check/result.json").exists()
    with pytest.raises(InputError, match="out holds the results of an earlier sweep; expected --resume"):
        run("fine")


def test_a_job_cleans_up_also_if_the_sweep_is_interrupted_before_it_hears_of_its_start(
    stand_in: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = Worker.answer

    def interrupted(self: Worker, doing: str) -> Message:
        if doing.startswith("starting"):
            wait_for_text(stand_in / "will-clean")
            raise KeyboardInterrupt
        return answer(self, doing)

    monkeypatch.setattr(Worker, "answer", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run("cleans", jobs=1)
    assert (stand_in / "cleaned").exists()


def test_a_sweep_that_is_interrupted_while_pytorch_loads_waits_for_nothing(
    stand_in: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer, asked = Worker.answer, list[str]()

    def interrupted(self: Worker, doing: str) -> Message:
        asked.append(doing)
        if doing == "loading PyTorch":
            raise KeyboardInterrupt
        return answer(self, doing)

    monkeypatch.setattr(Worker, "answer", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run("fine", jobs=1)
    assert asked[-1] == "loading PyTorch"


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda out: out.mkdir() or (out / "mine.txt").touch(), "holds other files and no results of a sweep"),
        (lambda out: out.touch(), "is a file; expected a folder"),
        (lambda out: out.symlink_to("elsewhere"), "is a symbolic link"),
        (lambda out: out.mkdir() or (out / "sweep.json").write_text('{"command": "x"}'), "no results of a sweep"),
        (lambda out: out.mkdir() or (out / "sweep.json").symlink_to("/etc/passwd"), "no results of a sweep"),
    ],
)
def test_a_place_that_is_not_ours_is_not_touched(make: Any, words: str, tmp_path: Path) -> None:
    out = tmp_path / "out"
    make(out)
    before = sorted(tmp_path.rglob("*"))
    for more in ({}, {"resume": True}, {"force": True}):
        with pytest.raises(InputError, match=words):
            sweep({"verbs": ["validate"], "targets": ["a"]}, out=out, **more)
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("name", ["a.fp32/check/note.txt", "a.fp32/check/bundle", "a.fp32/check", "a.fp32"])
def test_a_job_folder_with_something_else_is_refused(name: str, stand_in: Path) -> None:
    run("b")
    path = stand_in / "out" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("mine")
    with pytest.raises(InputError, match="move it away"):
        run("a", resume=True)
    assert path.read_text() == "mine"


def test_two_sweeps_in_one_folder_are_refused(stand_in: Path) -> None:
    (stand_in / "out").mkdir()
    lock = try_lock(stand_in / "out")
    assert lock is not None
    with pytest.raises(StorageError, match="another sweep is at work in out"):
        run("a")
    lock.release()


@pytest.mark.parametrize(
    ("document", "words"),
    [
        (
            {"check": {"sed": 1}},
            r"received, under \[check\] in the sweep, sed; expected .*; did you mean seed",
        ),
        ({"check": {"seed": "x"}}, r"under \[check\] in the sweep, Invalid value for '--seed': 'x' is not a valid int"),
        ({"check": {"seed": [1, 2]}}, "expected one value"),
        ({"check": {"seed": True}}, "expected a value, as on the command line"),
        ({"options": [{"name": "a", "check": {"nosuch": 1}}]}, r"check of \[\[options\]\] named 'a'"),
    ],
)
def test_an_option_that_the_command_does_not_take_is_one_line(
    document: dict[str, Any], words: str, stand_in: Path
) -> None:
    with pytest.raises(InputError, match=words):
        run("a", document=document)
    assert not (stand_in / "out").exists()


def test_a_need_that_this_machine_does_not_meet_is_missing(stand_in: Path) -> None:
    found = run("a", "b", document={"resources": {"accelerator": "H100"}})
    assert [row.status for row in found.rows] == ["missing", "missing"]
    assert "it needs 1 CPU, 2 GiB of memory, 1 GPU, the accelerator H100, and this machine has" in found.rows[0].found
    assert found.exit_code == 3


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"jobs": 0}, "received 0 jobs at a time"),
        ({"retries": -1}, "received -1 retries"),
        ({"patience": -1.0}, "received a patience of -1.0 seconds"),
        ({"patience": float("nan")}, "received a patience of nan seconds"),
        ({"ray": "auto", "jobs": 2}, "received --jobs with --ray"),
        ({"shared": True}, "received --shared without --ray"),
        ({"out": None}, "a sweep as a dict without out"),
    ],
)
def test_wrong_arguments_are_one_line(more: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        sweep({"verbs": ["check"], "targets": ["a"]}, **{"out": "out", **more})
