"""A verb makes its tensors on the CPU, and leaves the caller's default device as it was."""

from __future__ import annotations

import os
import threading
import time
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

import attn2trt
from attn2trt.workflows.default_device import on_cpu

VERBS = (attn2trt.deploy, attn2trt.export_bundle, attn2trt.check_model, attn2trt.check_plan)


@pytest.fixture
def elsewhere() -> Iterator[None]:
    torch.set_default_device("meta")
    yield
    torch.set_default_device(None)  # type: ignore[arg-type]


@pytest.mark.usefixtures("elsewhere")
def test_another_default_device_holds_around_a_verb_and_not_inside() -> None:
    @on_cpu
    def verb() -> str:
        return torch.rand(1).device.type

    assert (verb(), torch.rand(1).device.type) == ("cpu", "meta")


def test_an_inference_mode_holds_around_a_verb_and_not_inside() -> None:
    verb = on_cpu(lambda: torch.rand(1).is_inference())
    with torch.inference_mode():
        assert (verb(), torch.rand(1).is_inference()) == (False, True)


@pytest.mark.parametrize("verb", [*VERBS, attn2trt.cost, attn2trt.benchmark], ids=lambda verb: verb.__name__)
def test_every_verb_that_runs_a_module_does_so(verb: object, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[bool] = []
    monkeypatch.setattr(torch, "get_default_device", lambda: asked.append(True) or torch.device("cpu"))
    with pytest.raises((attn2trt.Attn2trtError, TypeError)):
        verb("no such target", no_such_keyword=1)  # type: ignore[operator]
    assert asked


def test_calls_of_several_threads_take_turns_and_a_call_inside_of_one_does_not_wait() -> None:
    inside: list[None] = []

    @on_cpu
    def verb() -> int:
        inside.append(None)
        time.sleep(0.01)
        found = on_cpu(lambda: len(inside))()
        inside.pop()
        return found

    with ThreadPoolExecutor(4) as pool:
        assert [turn.result(timeout=60) for turn in [pool.submit(verb) for _ in range(4)]] == [1] * 4


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_copy_of_the_process_does_not_wait_for_a_thread_that_it_does_not_have() -> None:
    copies: list[int] = []

    @on_cpu
    def verb() -> None:
        def fork() -> None:
            if (copy := os.fork()) == 0:
                on_cpu(os._exit)(0)
            copies.append(copy)

        thread = threading.Thread(target=fork)
        thread.start()
        thread.join()

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Python warns of a fork beside threads
        verb()
    assert os.waitstatus_to_exitcode(os.waitpid(copies[0], 0)[1]) == 0
