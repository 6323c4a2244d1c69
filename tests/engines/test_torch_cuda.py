"""The order of the calls around a module on a GPU; a stand-in takes the place of torch.cuda."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from attn2trt.engines.timing.method import Limits
from attn2trt.engines.timing.runners import TorchRunner
from attn2trt.engines.timing.runtimes import MODULES
from attn2trt.engines.timing.timed_process_child import Bench
from attn2trt.engines.torch_cuda import CALLS_BEFORE_CAPTURE, CudaCalls
from attn2trt.engines.torch_runtime import TorchRuntime, save_weights
from attn2trt.errors import CheckFailed
from attn2trt.modules.catalog import resolve

from .pretended_cuda import PretendedCuda

TIMED = ["record", "forward", "record", "synchronize"]
CAPTURED = [
    *("side waits for current", "on side", *["forward"] * CALLS_BEFORE_CAPTURE, "current waits for side"),
    *("begin capture", "forward", "end capture", "replay", "synchronize"),
]
FEEDS = {"x": np.ones((1, 2, 3, 3), np.float32)}


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch) -> Iterator[PretendedCuda]:
    found = PretendedCuda()
    found.install(monkeypatch)
    flags = (torch.backends.cuda.matmul, torch.backends.cudnn)
    before = [one.allow_tf32 for one in flags]
    for one in flags:
        one.allow_tf32 = True
    yield found
    for one, allowed in zip(flags, before, strict=True):
        one.allow_tf32 = allowed


def forward_of(cuda: PretendedCuda, result: object = None) -> Callable[[], object]:
    def forward() -> object:
        cuda.calls.append("forward")
        return result

    return forward


def test_a_call_is_timed_between_two_events_and_ends_when_the_device_is_done(cuda: PretendedCuda) -> None:
    clock = CudaCalls()
    call = clock.call(forward_of(cuda, "result"))
    assert cuda.calls == []
    assert [call(), call()] == ["result", "result"]
    assert cuda.calls == [*TIMED, *TIMED]
    assert clock.take_times() == [1000, 2000]
    assert clock.take_times() == []


def test_a_graph_is_captured_once_and_replayed(cuda: PretendedCuda) -> None:
    clock = CudaCalls(graphed=True)
    calls = [clock.call(forward_of(cuda, torch.ones(2))) for _ in range(2)]
    assert cuda.calls == [*CAPTURED, *CAPTURED]
    assert cuda.pools == ["pool", "pool"]
    cuda.calls.clear()
    for call in (*calls, *calls):
        call()
    assert cuda.calls == ["record", "replay", "record", "synchronize"] * 4
    assert clock.take_times() == [1000, 2000, 3000, 4000]


def test_a_replay_reads_inputs_that_are_still_there(cuda: PretendedCuda) -> None:
    import gc
    import weakref

    class Inputs(nn.Module):
        def __call__(self) -> None:
            return None

    inputs = Inputs()
    there = weakref.ref(inputs)
    clock = CudaCalls(graphed=True)
    call = clock.call(inputs)
    del inputs
    gc.collect()
    assert there() is not None
    call()


@pytest.mark.parametrize(
    ("first", "later", "fails"),
    [
        (torch.ones(3), torch.ones(3) + 1e-4, False),
        (torch.ones(3), torch.ones(3) + 0.1, True),
        (torch.tensor([1.0, torch.nan]), torch.tensor([1.0, torch.nan]), False),
        (torch.tensor([1.0, torch.nan]), torch.tensor([1.0, 1.0]), True),
        (torch.tensor([1, 2]), torch.tensor([2, 2]), True),
        (torch.zeros(0), torch.zeros(0), False),
    ],
)
def test_a_graph_that_computes_something_else_is_refused(
    cuda: PretendedCuda, first: Tensor, later: Tensor, fails: bool
) -> None:
    results = iter([first] * CALLS_BEFORE_CAPTURE + [later])
    clock = CudaCalls(graphed=True)
    if not fails:
        clock.call(lambda: {"output": next(results)})
        return
    with pytest.raises(CheckFailed, match="as a CUDA graph computes something else"):
        clock.call(lambda: {"output": next(results)})


class Halves(nn.Module):
    """Notes what it reads; it has no parameter that could tell where it is."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[Tensor] = []

    def forward(self, x: Tensor) -> Tensor:
        assert not torch.is_grad_enabled()
        self.seen.append(x)
        return x / 2


@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize("graphed", [False, True])
def test_a_module_on_a_gpu_reports_what_the_device_took(cuda: PretendedCuda, half: bool, graphed: bool) -> None:
    module = Halves()
    runtime = TorchRuntime(module, device="cuda", half=half, graphed=graphed)
    calls = runtime.prepare([FEEDS, FEEDS])
    for call in calls:
        call()
    assert runtime.take_device_times() == [1000, 2000]
    assert len(module.seen) == 2 * (CALLS_BEFORE_CAPTURE + 1 if graphed else 1)
    assert {value.dtype for value in module.seen} == {torch.float16 if half else torch.float32}
    assert module.seen[0].is_contiguous(memory_format=torch.channels_last if half else torch.contiguous_format)
    assert np.array_equal(runtime.run(FEEDS)["output"], FEEDS["x"] / 2)
    assert ("CUDA graph" in runtime.name) == graphed
    # float32 is float32 on a GPU, too
    assert (torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32) == (half, half)


@pytest.mark.parametrize("name", [name for name, kind in MODULES.items() if kind.on_gpu])
def test_every_baseline_on_a_gpu_has_device_times(
    cuda: PretendedCuda, name: str, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    modes: list[str | None] = []

    def compile_(module: nn.Module, *, dynamic: bool, mode: str | None) -> nn.Module:
        assert not dynamic
        modes.append(mode)
        return module

    monkeypatch.setattr(torch, "compile", compile_)
    target = resolve("se", shapes=["1x16x4x4"])
    weights = tmp_path_factory.mktemp("weights") / "weights.pt"
    save_weights(target.build(), weights)
    runner = TorchRunner("se", ("x=1x16x4x4:float32",), 0, weights, ("output",), **MODULES[name]._asdict())
    with runner.open(threads=1) as runtime:
        bench = Bench(runtime)
        entry = {"name": "x", "shape": [1, 16, 4, 4], "dtype": "float32"}
        bench.answer({"do": "prepare", "inputs": [entry], "sizes": {}, "sets": 2}, {})
        limits = asdict(Limits(0, 3, 1))
        _, found = bench.answer({"do": "turn", "limits": limits, "hot": False}, {})
    assert found is not None
    assert len(found["device"]) == len(found["nanoseconds"]) == 3
    assert ("replay" in cuda.calls) == name.endswith("-graph")
    assert ("float16" in runtime.name) == ("fp16" in name)
    # a graph of its own inside of torch.compile could not be captured, and would copy inputs while it is timed
    assert modes == ["max-autotune-no-cudagraphs"] * ("compile" in name)
