"""PyTorch answers by name like every other runtime."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from attn2trt.engines.torch_runtime import TorchRuntime
from attn2trt.errors import InputError

X = np.ones((2, 3), np.float32)


class Two(nn.Module):
    def forward(self, x: Tensor, y: Tensor) -> dict[str, Tensor]:
        return {"sum": x + y, "less": x < y}


def test_outputs_are_named_in_flattened_order() -> None:
    with TorchRuntime(Two(), ("sum", "less")) as runtime:
        outputs = runtime.run({"x": X, "y": 2 * X})
    assert np.array_equal(outputs["sum"], 3 * X)
    assert outputs["less"].dtype == np.bool_
    assert torch.__version__ in runtime.name


def test_one_output_needs_no_name() -> None:
    assert list(TorchRuntime(nn.Linear(3, 4)).run({"x": X})) == ["output"]


def test_a_wrong_number_of_names_is_an_error() -> None:
    with pytest.raises(InputError, match="returned 2 tensors; expected 1"):
        TorchRuntime(Two(), ("sum",)).run({"x": X, "y": X})


def test_prepared_calls_do_the_modules_work_and_no_more() -> None:
    seen: list[tuple[Tensor, ...]] = []

    class Watching(Two):
        def forward(self, x: Tensor, y: Tensor) -> dict[str, Tensor]:
            seen.append((x, y))
            assert not torch.is_grad_enabled()
            return super().forward(x, y)

    calls = TorchRuntime(Watching()).prepare([{"x": X, "y": X}, {"x": 3 * X, "y": X}])
    assert seen == []
    for call in (*calls, *calls):
        call()
    assert [float(x.mean()) for x, _ in seen] == [1, 3, 1, 3]
    assert seen[0][0] is seen[2][0]


def test_a_cpu_has_no_clock_of_its_own_and_no_graphs() -> None:
    runtime = TorchRuntime(Two())
    runtime.prepare([{"x": X, "y": X}])[0]()
    assert runtime.take_device_times() == []
    with pytest.raises(InputError, match="received a CUDA graph on cpu; expected the device cuda"):
        TorchRuntime(Two(), graphed=True)


def test_compiled_goes_through_torch_compile_anew_for_each_size(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[bool] = []

    def compile_(module: nn.Module, *, dynamic: bool, mode: str | None) -> nn.Module:
        asked.append(dynamic)
        assert mode is None
        return module

    monkeypatch.setattr(torch, "compile", compile_)
    runtime = TorchRuntime(Two(), ("sum", "less"), compiled=True)
    assert asked == [False]
    assert "torch.compile" in runtime.name
    assert np.array_equal(runtime.run({"x": X, "y": X})["sum"], 2 * X)


@pytest.mark.slow
def test_what_is_compiled_computes_the_same() -> None:
    module = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Sigmoid()).eval()
    feeds = {"x": np.ones((1, 3, 4, 4), np.float32)}
    compiled = TorchRuntime(module, compiled=True).run(feeds)["output"]
    np.testing.assert_allclose(compiled, TorchRuntime(module).run(feeds)["output"], rtol=1e-6)


def test_half_precision_computes_in_float16_and_channels_last() -> None:
    import torch
    from torch import nn

    seen: list[torch.Tensor] = []

    class Scale(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.ones(1) / 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            seen.append(x)
            return x * self.weight

    x = np.ones((2, 3, 4, 5), np.float32)
    found = TorchRuntime(Scale(), half=True).run({"x": x})["output"]
    assert seen[0].dtype == torch.float16
    assert seen[0].is_contiguous(memory_format=torch.channels_last)
    assert found.dtype == np.float32
    assert np.array_equal(found, np.full_like(x, np.float16(1 / 3)))
