"""The runtimes that a benchmark looks for, by the name that ``--runtime`` takes, and why one cannot be tried here."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches
from functools import lru_cache
from typing import NamedTuple

from ...core.precision import FP32, PRECISIONS
from ...errors import InputError, MissingRequirement
from ..environment import ask_driver
from ..ort_runtime import CPU, import_onnxruntime
from ..tensorrt.flavours import FLAVOURS

EAGER, COMPILE = "pytorch-eager", "pytorch-compile"
ORT_CPU, ORT_TUNED, PLAIN_EXPORT = "ort-cpu", "ort-cpu-tuned", "ort-cpu-plain-export"
ORT_CUDA, ORT_TENSORRT, TENSORRT = "ort-cuda", "ort-tensorrt", "tensorrt"
GRAPHED = "-graph"


class PlanRuntime(NamedTuple):
    """A runtime that is a plan: of which TensorRT, in which precision, and whether it is launched as a CUDA graph."""

    flavour: str
    precision: str
    graphed: bool

    def __str__(self) -> str:
        graph = ", as a CUDA graph" if self.graphed else ""
        return f"the bundle's {FLAVOURS[self.flavour].title} plan in {self.precision}{graph}"


PLANS = {
    flavour + ("" if precision == FP32 else f"-{precision}") + end: PlanRuntime(flavour, precision, bool(end))
    for flavour in FLAVOURS
    for precision in PRECISIONS
    for end in ("", GRAPHED)
}


class ModuleRuntime(NamedTuple):
    """A runtime that is the PyTorch module; the fields are those of the job that runs it."""

    compiled: bool = False
    on_gpu: bool = False
    half: bool = False
    graphed: bool = False

    def __str__(self) -> str:
        how = "torch.compile" + " with max-autotune" * self.on_gpu if self.compiled else "eager"
        half = ", float16 and channels last" if self.half else ""
        return f"PyTorch, {how}{half}, on the {'GPU' if self.on_gpu else 'CPU'}{', as a CUDA graph' * self.graphed}"


MODULES = {EAGER: ModuleRuntime(), COMPILE: ModuleRuntime(compiled=True)} | {
    f"pytorch-cuda{'-compile' * compiled}{'-fp16' * half}{GRAPHED * graphed}": ModuleRuntime(
        compiled, True, half, graphed
    )
    for half in (False, True)
    for compiled in (False, True)
    for graphed in (False, True)
}
RUNTIMES = {
    **{name: str(kind) for name, kind in MODULES.items() if not kind.on_gpu},
    **{name: str(kind) for name, kind in MODULES.items() if kind.on_gpu},
    ORT_CPU: "ONNX Runtime on the CPU, with the graph of the bundle",
    ORT_TUNED: "ONNX Runtime on the CPU, with the bundle's tuned graph",
    PLAIN_EXPORT: "ONNX Runtime on the CPU, with what torch.onnx.export writes by itself",
    ORT_CUDA: "ONNX Runtime's CUDA provider, with the graph of the bundle",
    ORT_TENSORRT: "ONNX Runtime's TensorRT provider, with the graph of the bundle",
    **{name: str(kind) for name, kind in PLANS.items()},
}
PROVIDERS = {ORT_CPU: CPU, ORT_TUNED: CPU, ORT_CUDA: "CUDAExecutionProvider", ORT_TENSORRT: "TensorrtExecutionProvider"}
# Their failure says nothing about what this tool hands over.
BASELINES = frozenset({*MODULES, PLAIN_EXPORT} - {EAGER})
ON_GPU = frozenset({*(name for name, kind in MODULES.items() if kind.on_gpu), ORT_CUDA, ORT_TENSORRT, *PLANS})


def precision_of(name: str) -> str:
    """Return the precision that the runtime of this name computes in."""
    if name in PLANS:
        return PLANS[name].precision
    return "fp16" if name in MODULES and MODULES[name].half else FP32


def check_names(names: Sequence[str], *, plans: Sequence[tuple[str, str]] = ()) -> tuple[str, ...]:
    """The runtimes of these names in the order above; InputError for an unknown one.

    Without names all of them, of the plans those whose flavour and precision is in ``plans``; without plans TensorRT's
    float32 one, whose row says why.
    """
    for name in names:
        if name not in RUNTIMES:
            close = get_close_matches(name, RUNTIMES, n=1)
            hint = f"nearest: {close[0]}" if close else "leave --runtime out for all of them"
            others = ", ".join(known for known in RUNTIMES if known not in PLANS)
            of_plans = f"{' or '.join(FLAVOURS)} with -PRECISION and {GRAPHED} for a bundle's plans"
            raise InputError(f"received runtime {name!r}; expected {others}, or {of_plans}; {hint}")
    if names:
        return tuple(name for name in RUNTIMES if name in names)
    there = {name for name, kind in PLANS.items() if (kind.flavour, kind.precision) in plans} or {TENSORRT}
    return tuple(name for name in RUNTIMES if name not in PLANS or name in there)


@lru_cache(maxsize=len(PROVIDERS))
def why_no_provider(name: str) -> str:
    """Return why the provider of the runtime ``name`` cannot be tried here; "" if it can."""
    try:
        providers = import_onnxruntime().get_available_providers()
    except MissingRequirement as error:
        return str(error)
    if PROVIDERS[name] not in providers:
        return f"this ONNX Runtime has no {PROVIDERS[name]}"
    if PROVIDERS[name] != CPU and not (driver := ask_driver()).devices:
        return driver.problem
    return ""


@lru_cache(maxsize=1)
def why_no_cuda_torch() -> str:
    """Return why PyTorch cannot compute on a GPU here; "" if it can."""
    if not (driver := ask_driver()).devices:
        return driver.problem
    from ..torch_runtime import computes_on_gpu

    return "" if computes_on_gpu() else "this PyTorch computes on no GPU; install its build for CUDA"
