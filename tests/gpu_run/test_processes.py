"""The processes that do the steps, with stand-ins that take no time."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from gpu.processes import Processes, alone_in, log_path, python_of
from gpu.work import Step
from stand_in_run import STAND_IN, events
from waiting import is_running, wait_for

from attn2trt.errors import InputError

BUILD, EXPORT = Step("build-a-fp16", "build", 1, "a", "fp16"), Step("export-a", "export", 1, "a")


def processes(folder: Path, behaviour: Mapping[str, Any]) -> Processes:
    (folder / "behaviour.json").write_text(json.dumps(behaviour))

    def command(step: Step) -> list[str]:
        words = [str(folder), "--step", step.name, "--setting", "now", "--since", str(time.monotonic())]
        return [sys.executable, "-S", str(STAND_IN), *words]

    return Processes(folder, command)


def test_a_step_ends_with_how_and_what_it_printed(tmp_path: Path) -> None:
    with processes(tmp_path, {"build": {"die": True}}) as running:
        running.start(BUILD)
        (ended,) = wait_for(running.ended)
        assert not running
    assert (ended.step, ended.code, ended.how) == (BUILD, 1, "ended with exit code 1: Error: it broke")
    assert log_path(tmp_path, BUILD).read_text().startswith("on the way build-a-fp16")


def test_exports_can_be_stopped_for_a_while(tmp_path: Path) -> None:
    with processes(tmp_path, {"export": {"until": str(tmp_path / "go")}}) as running:
        running.start(EXPORT)
        (started,) = wait_for(lambda: events(tmp_path))
        running.hold("export")
        state = Path(f"/proc/{started['pid']}/stat")
        wait_for(lambda: state.read_text().rpartition(")")[2].split()[0] == "T")
        (tmp_path / "go").touch()
        assert not running.ended()
        running.go_on("export")
        assert wait_for(running.ended)[0].code == 0


def test_leaving_ends_a_step_with_what_it_has_started(tmp_path: Path) -> None:
    with processes(tmp_path, {"build": {"seconds": 600}}) as running:
        running.start(BUILD)
        (started,) = wait_for(lambda: events(tmp_path))
        assert is_running(started["pid"])
    assert not is_running(started["pid"])


def test_what_a_killed_run_has_left_is_ended_by_the_next(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    mark = {**os.environ, "ATTN2TRT_GPU_CHECK": str(folder.resolve())}
    other = {**os.environ, "ATTN2TRT_GPU_CHECK": f"{folder.resolve()}-other"}
    command = [sys.executable, "-S", "-c", "import time; print(flush=True); time.sleep(600)"]
    left, apart = (
        subprocess.Popen(command, env=environment, start_new_session=True, stdout=subprocess.PIPE)
        for environment in (mark, other)
    )
    try:
        for process in (left, apart):
            assert process.stdout is not None
            process.stdout.readline()
        with alone_in(folder):
            assert not is_running(left.pid)
            assert left.wait(60) == -signal.SIGKILL
            assert apart.poll() is None
    finally:
        for process in (left, apart):
            process.kill()
            process.communicate()


def test_a_second_run_in_the_same_folder_is_refused(tmp_path: Path) -> None:
    with alone_in(tmp_path / "run"), pytest.raises(InputError, match="in which another run is at work"):
        alone_in(tmp_path / "run").__enter__()


def test_a_python_that_is_none_is_refused(tmp_path: Path) -> None:
    assert python_of(None) == sys.executable
    assert python_of(sys.executable) == sys.executable
    (tmp_path / "python").write_text("")
    for path in (tmp_path / "python", tmp_path, tmp_path / "no"):
        with pytest.raises(InputError, match=f"received --python-trt {path}; expected the path of a Python"):
            python_of(str(path))
