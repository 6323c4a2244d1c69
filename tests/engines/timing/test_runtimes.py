"""Names of runtimes, and why one is not here."""

from __future__ import annotations

import pytest

from attn2trt.engines.environment import Driver
from attn2trt.engines.timing import runtimes
from attn2trt.errors import InputError

PLANS = [*runtimes.PLANS.values()]


def test_all_in_a_fixed_order_where_none_is_named() -> None:
    usual = tuple(name for name in runtimes.RUNTIMES if name not in runtimes.PLANS)
    assert runtimes.check_names(()) == (*usual, "tensorrt")
    assert runtimes.check_names(["tensorrt", "ort-cpu"]) == ("ort-cpu", "tensorrt")


def test_plans_are_named_by_their_flavour_and_precision() -> None:
    rtx = runtimes.check_names((), plans=[("tensorrt-rtx", "fp32", False), ("tensorrt-rtx", "fp16", False)])
    assert rtx[-4:] == ("tensorrt-rtx", "tensorrt-rtx-graph", "tensorrt-rtx-fp16", "tensorrt-rtx-fp16-graph")
    assert "TensorRT for RTX plan in fp16, as a CUDA graph" in str(runtimes.RUNTIMES["tensorrt-rtx-fp16-graph"])
    found = runtimes.check_names((), plans=[("tensorrt", "fp16", False), ("tensorrt", "int8", False)])
    assert found[-4:] == ("tensorrt-fp16", "tensorrt-fp16-graph", "tensorrt-int8", "tensorrt-int8-graph")
    assert "tensorrt" not in found
    assert [runtimes.RUNTIMES[name].precision for name in ("tensorrt", "tensorrt-graph", "tensorrt-bf16-graph")] == [
        *("fp32", "fp32", "bf16"),
    ]
    assert [runtimes.RUNTIMES[name].precision for name in ("pytorch-cuda-fp16", "ort-cuda")] == ["fp16", "fp32"]


def test_modules_on_a_gpu_are_named_by_how_they_run() -> None:
    on_gpu = [name for name, kind in runtimes.MODULES.items() if kind.on_gpu]
    assert on_gpu == [
        *("pytorch-cuda", "pytorch-cuda-graph", "pytorch-cuda-compile", "pytorch-cuda-compile-graph"),
        *(
            "pytorch-cuda-fp16",
            "pytorch-cuda-fp16-graph",
            "pytorch-cuda-compile-fp16",
            "pytorch-cuda-compile-fp16-graph",
        ),
    ]
    assert all(runtimes.MODULES[name].is_baseline for name in on_gpu)
    assert [name for name, kind in runtimes.RUNTIMES.items() if not kind.is_baseline and kind not in PLANS] == [
        *("pytorch-eager", "ort-cpu", "ort-cpu-tuned", "ort-cuda", "ort-tensorrt"),
    ]
    assert [name for name, kind in runtimes.RUNTIMES.items() if kind.on_gpu and kind not in PLANS] == [
        *(*on_gpu, "ort-cuda", "ort-tensorrt"),
    ]
    words = "PyTorch, torch.compile with max-autotune, float16 and channels last, on the GPU, as a CUDA graph"
    assert str(runtimes.RUNTIMES["pytorch-cuda-compile-fp16-graph"]) == words
    assert runtimes.RUNTIMES["pytorch-cuda-graph"].precision == "fp32"
    assert runtimes.RUNTIMES["pytorch-cuda-compile-fp16-graph"].precision == "fp16"


@pytest.mark.parametrize(("name", "words"), [("ort_cpu", "did you mean ort-cpu"), ("", "leave --runtime out")])
def test_an_unknown_one_is_refused_with_the_nearest(name: str, words: str) -> None:
    with pytest.raises(InputError, match=words):
        runtimes.check_names(["ort-cpu", name])


def test_a_machine_without_a_driver_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    import onnxruntime

    runtimes.why_no_provider.cache_clear()
    monkeypatch.setattr(
        onnxruntime, "get_available_providers", lambda: [runtimes.PROVIDERS[name] for name in ("ort-cpu", "ort-cuda")]
    )
    monkeypatch.setattr(runtimes, "ask_driver", lambda: Driver("", (), "no NVIDIA driver"))
    assert runtimes.why_no_provider("ort-cpu") == ""
    assert "no NVIDIA driver" in runtimes.why_no_provider("ort-cuda")
    assert "has no TensorrtExecutionProvider" in runtimes.why_no_provider("ort-tensorrt")
    runtimes.why_no_provider.cache_clear()
