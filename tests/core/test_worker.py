"""A worker's death, silence, error or noise is an error or nothing here; only what it answers is believed."""

from __future__ import annotations

import errno
import os
import signal
import threading

import pytest
from pretended_worker import pretend

from attn2trt.core.worker import Worker
from attn2trt.errors import CheckFailed, InputError, Interrupted

PRELUDE = """
import os, sys, time
from attn2trt.core.channel import claim_stdout, failure, receive, send
from attn2trt.errors import InputError
answers = os.fdopen(claim_stdout(), "wb")
"""


def worker(monkeypatch: pytest.MonkeyPatch, code: str, *, seconds: float = 30) -> Worker:
    pretend(monkeypatch, PRELUDE + code)
    return Worker("core.worker", who="it", seconds=seconds)


def test_what_it_answers_comes_back_and_noise_on_stdout_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    code = (
        "header, payload = receive(sys.stdin.buffer)\nos.system('echo raw')\nprint('noise')\n"
        "send(answers, {'got': header['n'] + 1}, payload * 2)"
    )
    with worker(monkeypatch, code) as it:
        assert it.tell({"n": 1}, b"ab")
        assert it.answer("adding") == ({"got": 2}, b"abab")
        assert it._process.wait() == 0
        assert "raw" in it.output
        assert "noise" in it.output


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("", "adding, it's process ended with exit code 0"),
        ("sys.exit('no such thing')", "adding, it's process ended with exit code 1: no such thing"),
        ("os.kill(os.getpid(), 11)", "adding, it's process was killed by SIGSEGV"),
        ("os.write(answers.fileno(), b'{\"bytes\": 9}\\nhalf')", "adding, it's process ended with exit code 0"),
        ("os.write(answers.fileno(), b'{\"by')", "adding, it's process ended with exit code 0"),
    ],
    ids=["silent", "error", "crash", "half a payload", "half a line"],
)
def test_an_end_without_an_answer_is_an_interruption(monkeypatch: pytest.MonkeyPatch, code: str, words: str) -> None:
    with worker(monkeypatch, code) as it:
        for _ in range(2):
            with pytest.raises(Interrupted, match=f"^{words}$"):
                it.answer("adding")
        assert it.how
        assert not it.tell({"n": 1}, b"x" * 100_000)


def test_an_error_of_ours_keeps_its_type(monkeypatch: pytest.MonkeyPatch) -> None:
    code = "send(answers, failure(InputError('received 2;\\nexpected 1')))\nsend(answers, failure(ValueError('odd')))"
    with worker(monkeypatch, code) as it:
        with pytest.raises(InputError, match=r"^received 2; expected 1$"):
            it.answer("adding")
        with pytest.raises(CheckFailed, match=r"^ValueError: odd$"):
            it.answer("adding")


@pytest.mark.parametrize(
    ("error", "place"),
    [
        ("OSError(errno.ENOSPC, 'full')", None),
        ("OSError(errno.ENOSPC, 'full', 'source', None, 'copy')", "copy"),
        ("OSError(errno.EACCES, 'denied', 'source', None, 'copy')", "source"),
        ("OSError(errno.EACCES, 'denied', pathlib.Path('source'))", "source"),
    ],
)
def test_an_error_of_the_system_stays_one(monkeypatch: pytest.MonkeyPatch, error: str, place: str | None) -> None:
    with (
        worker(monkeypatch, f"import errno, pathlib\nsend(answers, failure({error}))") as it,
        pytest.raises(OSError, match=r"full|denied") as raised,
    ):
        it.answer("writing")
    assert raised.value.errno == (errno.ENOSPC if "ENOSPC" in error else errno.EACCES)
    assert raised.value.filename == place


def test_a_time_limit_ends_it(monkeypatch: pytest.MonkeyPatch) -> None:
    with worker(monkeypatch, "time.sleep(60)", seconds=0.2) as it:
        with pytest.raises(Interrupted, match=r"^it did not finish adding within 0\.2 s$"):
            it.answer("adding")
        assert it._process.wait() == -signal.SIGKILL


def test_an_interrupt_as_its_time_begins_leaves_no_timer_to_wait_for(monkeypatch: pytest.MonkeyPatch) -> None:
    start = threading.Timer.start

    def interrupted(timer: threading.Timer) -> None:
        start(timer)
        raise KeyboardInterrupt

    with worker(monkeypatch, "time.sleep(60)") as process:
        monkeypatch.setattr(threading.Timer, "start", interrupted)
        with pytest.raises(KeyboardInterrupt):
            process.answer("working")
    left = [thread for thread in threading.enumerate() if isinstance(thread, threading.Timer)]
    assert all(thread.daemon and thread.finished.is_set() for thread in left)


def test_it_is_gone_after_the_block(monkeypatch: pytest.MonkeyPatch) -> None:
    with worker(monkeypatch, "time.sleep(60)") as it:
        assert it.exit_code is None
    assert it.exit_code == -signal.SIGKILL
    with pytest.raises(ProcessLookupError):
        os.kill(it.pid, 0)
