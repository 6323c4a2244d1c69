"""The runtimes that a benchmark looks for, by the name that ``--runtime`` takes, and why one cannot be tried here."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches
from functools import lru_cache

from ...errors import InputError
from ..environment import ask_driver, probe_tensorrt
from ..ort_runtime import CPU

EAGER, COMPILE = "pytorch-eager", "pytorch-compile"
ORT_CPU, ORT_TUNED, PLAIN_EXPORT = "ort-cpu", "ort-cpu-tuned", "ort-cpu-plain-export"
ORT_CUDA, ORT_TENSORRT, TENSORRT = "ort-cuda", "ort-tensorrt", "tensorrt"
RUNTIMES = {
    EAGER: "PyTorch, eager, on the CPU",
    COMPILE: "PyTorch, torch.compile, on the CPU",
    ORT_CPU: "ONNX Runtime on the CPU, with the graph of the bundle",
    ORT_TUNED: "ONNX Runtime on the CPU, with the bundle's tuned graph",
    PLAIN_EXPORT: "ONNX Runtime on the CPU, with what torch.onnx.export writes by itself",
    ORT_CUDA: "ONNX Runtime's CUDA provider, with the graph of the bundle",
    ORT_TENSORRT: "ONNX Runtime's TensorRT provider, with the graph of the bundle",
    TENSORRT: "a TensorRT plan of the bundle",
}
PROVIDERS = {ORT_CPU: CPU, ORT_TUNED: CPU, ORT_CUDA: "CUDAExecutionProvider", ORT_TENSORRT: "TensorrtExecutionProvider"}
# Their failure says nothing about what this tool hands over.
BASELINES = frozenset({COMPILE, PLAIN_EXPORT})


def check_names(names: Sequence[str]) -> tuple[str, ...]:
    """The runtimes of these names in the order above, all where none is given; InputError for an unknown one."""
    for name in names:
        if name not in RUNTIMES:
            close = get_close_matches(name, RUNTIMES, n=1)
            hint = f"nearest: {close[0]}" if close else "leave --runtime out for all of them"
            raise InputError(f"received runtime {name!r}; expected {', '.join(RUNTIMES)}; {hint}")
    return tuple(name for name in RUNTIMES if not names or name in names)


@lru_cache(maxsize=len(PROVIDERS))
def why_no_provider(name: str) -> str:
    """Why the provider of the runtime ``name`` cannot be tried here; "" where it can."""
    import onnxruntime as ort

    if PROVIDERS[name] not in ort.get_available_providers():
        return f"this ONNX Runtime has no {PROVIDERS[name]}"
    if PROVIDERS[name] != CPU and not (driver := ask_driver()).devices:
        return driver.problem
    return ""


@lru_cache(maxsize=1)
def why_no_tensorrt() -> str:
    """Why no TensorRT plan can be timed here."""
    found = probe_tensorrt()
    if found.status == "missing":
        return "TensorRT is not installed here"
    return found.detail if found.status == "unusable" else "plans are compiled and validated, not timed yet"
