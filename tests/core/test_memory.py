"""A worker that starts within a limit has it, and one that starts outside has none."""

from __future__ import annotations

import sys

import pytest
from pretended_worker import pretend

from attn2trt.core.memory import child_bytes, children_take, environment, machine_bytes
from attn2trt.core.worker import Worker
from attn2trt.errors import InputError, Interrupted

LIMIT = 300 << 20
TAKES = """
import os
from attn2trt.core.channel import claim_stdout, send
answers = os.fdopen(claim_stdout(), "wb")
block = bytearray(400 << 20)
send(answers, {"taken": len(block)})
"""


def test_the_limit_is_that_of_the_context_alone() -> None:
    assert environment() == {}
    with children_take(LIMIT):
        assert environment() == {"ATTN2TRT_MEMORY_BYTES": str(LIMIT)}
    assert environment() == {}


def test_a_worker_that_takes_more_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    if sys.platform != "linux":
        pytest.skip("the system has no such limit")
    pretend(monkeypatch, "from attn2trt.core.memory import limit_own\nlimit_own()\n" + TAKES)
    with Worker("core.worker", who="it", seconds=30) as free:
        assert free.answer("taking")[0] == {"taken": 400 << 20}
    with (
        children_take(LIMIT),
        Worker("core.worker", who="it", seconds=30) as held,
        pytest.raises(
            Interrupted,
            match=r"MemoryError; it may take 0\.293 GiB of memory; raise --memory-limit, or give smaller sizes",
        ),
    ):
        held.answer("taking")


def test_the_machine_has_memory() -> None:
    assert machine_bytes() > 1 << 28
    assert child_bytes() == machine_bytes() * 3 // 4
    assert child_bytes(0.5) == 1 << 29


@pytest.mark.parametrize("gib", [0.0, -1.0, float("nan"), float("inf"), 1e30])
def test_a_limit_that_is_no_memory_is_refused(gib: float) -> None:
    with pytest.raises(InputError, match=r"^received a memory limit of .* GiB; expected one above 0"):
        child_bytes(gib)
