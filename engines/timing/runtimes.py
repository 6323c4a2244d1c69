"""The runtimes that a benchmark times, by the name that ``--runtime`` takes, and why one cannot be tried here.

``RUNTIMES`` is the one table of them. An entry says what is run (the PyTorch module, a graph, a plan of a bundle), how,
and on which device; benchmark, judge and report read no other list.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Literal, NamedTuple

from ...core import bounds
from ...core.nearest import nearest
from ...core.precision import FP16, FP32, PRECISIONS
from ...errors import InputError, MissingRequirement
from ..environment import ask_driver
from ..ort_runtime import CPU, import_onnxruntime
from ..tensorrt.flavours import FLAVOURS
from .runners import OrtRunner, Runner

EAGER, COMPILE = "pytorch-eager", "pytorch-compile"
ORT_CPU, ORT_TUNED, PLAIN_EXPORT = "ort-cpu", "ort-cpu-tuned", "ort-cpu-plain-export"
ORT_CUDA, ORT_TENSORRT, TENSORRT = "ort-cuda", "ort-tensorrt", "tensorrt"
GRAPHED = "-graph"
PROVIDERS = {ORT_CPU: CPU, ORT_TUNED: CPU, ORT_CUDA: "CUDAExecutionProvider", ORT_TENSORRT: "TensorrtExecutionProvider"}
GraphKind = Literal["graph", "tuned graph", "plain export"]


class ModuleRuntime(NamedTuple):
    """A runtime that is the PyTorch module; the fields are those of ``TorchRunner``."""

    compiled: bool = False
    on_gpu: bool = False
    half: bool = False
    graphed: bool = False

    def __str__(self) -> str:
        how = "torch.compile" + " with max-autotune" * self.on_gpu if self.compiled else "eager"
        half = ", float16 and channels last" if self.half else ""
        return f"PyTorch, {how}{half}, on the {'GPU' if self.on_gpu else 'CPU'}{', as a CUDA graph' * self.graphed}"

    @property
    def precision(self) -> str:
        """The precision that it computes in."""
        return FP16 if self.half else FP32

    @property
    def is_baseline(self) -> bool:
        """A failure says nothing of what this tool deploys: of eager PyTorch it would."""
        return self != ModuleRuntime()

    def why_not(self) -> str:
        """Return why it cannot be tried here; "" if it can."""
        return why_no_cuda_torch() if self.on_gpu else ""


@dataclass(frozen=True)
class GraphRuntime:
    """A runtime that loads a float32 graph.

    Attributes:
        words: The runtime with its graph, in words.
        runner: Returns the runner of a graph's file.
        graph: The graph that it loads: the bundle's own, the tuned one, or that of ``torch.onnx.export`` alone.
        on_gpu: It computes on a GPU.
        why_not: Returns why it cannot be tried here; "" if it can.
    """

    words: str
    runner: Callable[[Path], Runner]
    graph: GraphKind = "graph"
    on_gpu: bool = False
    why_not: Callable[[], str] = lambda: ""
    precision = FP32

    def __str__(self) -> str:
        return self.words

    @property
    def is_baseline(self) -> bool:
        """A failure says nothing of what this tool deploys."""
        return self.graph == "plain export"


class PlanRuntime(NamedTuple):
    """A runtime that is a plan.

    ``graphed`` launches it as a CUDA graph; ``tuned`` is the plan of the graph that ``tune`` wrote for its TensorRT.
    """

    flavour: str
    precision: str
    graphed: bool
    tuned: bool = False

    def __str__(self) -> str:
        graph = ", as a CUDA graph" if self.graphed else ""
        of_tuned = " of the tuned graph" * self.tuned
        return f"the bundle's {FLAVOURS[self.flavour].title} plan{of_tuned} in {self.precision}{graph}"

    @property
    def key(self) -> tuple[str, str, bool]:
        """Return what distinguishes the plan from the others of a bundle: the flavour, the precision, and if tuned."""
        return self.flavour, self.precision, self.tuned

    @property
    def on_gpu(self) -> bool:
        """Return True if it computes on a GPU."""
        return True

    @property
    def is_baseline(self) -> bool:
        """A failure is one of what this tool deploys."""
        return False


def _of_provider(name: str, words: str, graph: GraphKind = "graph") -> GraphRuntime:
    provider = PROVIDERS.get(name, CPU)
    why_not = partial(why_no_provider, name) if name in PROVIDERS else lambda: ""
    return GraphRuntime(words, partial(OrtRunner, provider=provider), graph, provider != CPU, why_not)


@lru_cache(maxsize=len(PROVIDERS))
def why_no_provider(name: str) -> str:
    """Return why the provider of the runtime ``name`` cannot be tried here; "" if it can."""
    try:
        providers = import_onnxruntime().get_available_providers()
    except MissingRequirement as error:
        return str(error)
    if why := bounds.why_outside(bounds.BASE):
        return why
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


MODULES = {EAGER: ModuleRuntime(), COMPILE: ModuleRuntime(compiled=True)} | {
    f"pytorch-cuda{'-compile' * compiled}{'-fp16' * half}{GRAPHED * graphed}": ModuleRuntime(
        compiled, True, half, graphed
    )
    for half in (False, True)
    for compiled in (False, True)
    for graphed in (False, True)
}
PLANS = {
    flavour + ("" if precision == FP32 else f"-{precision}") + "-tuned" * tuned + end: PlanRuntime(
        flavour, precision, bool(end), tuned
    )
    for flavour in FLAVOURS
    for precision in PRECISIONS
    for tuned in (False, True)
    for end in ("", GRAPHED)
}
RUNTIMES: dict[str, ModuleRuntime | GraphRuntime | PlanRuntime] = {
    **MODULES,
    ORT_CPU: _of_provider(ORT_CPU, "ONNX Runtime on the CPU, with the graph of the bundle"),
    ORT_TUNED: _of_provider(ORT_TUNED, "ONNX Runtime on the CPU, with the bundle's tuned graph", "tuned graph"),
    PLAIN_EXPORT: _of_provider(
        PLAIN_EXPORT, "ONNX Runtime on the CPU, with what torch.onnx.export writes by itself", "plain export"
    ),
    ORT_CUDA: _of_provider(ORT_CUDA, "ONNX Runtime's CUDA provider, with the graph of the bundle"),
    ORT_TENSORRT: _of_provider(ORT_TENSORRT, "ONNX Runtime's TensorRT provider, with the graph of the bundle"),
    **PLANS,
}


def is_of_bundle(runtime: ModuleRuntime | GraphRuntime | PlanRuntime) -> bool:
    """Return True for a runtime of a bundle's graph or plan; the others are what these are compared with."""
    return isinstance(runtime, PlanRuntime) or (isinstance(runtime, GraphRuntime) and runtime.graph != "plain export")


def check_names(names: Sequence[str], *, plans: Sequence[tuple[str, str, bool]] = ()) -> tuple[str, ...]:
    """Return the runtimes of these names in the table's order. Raises InputError for an unknown one.

    Without names all of them. Of the plans those with a key in ``plans``; without ``plans`` TensorRT's
    float32 one, whose row gives the reason.
    """
    for name in names:
        if name not in RUNTIMES:
            hint = nearest(name, RUNTIMES, "leave --runtime out for all of them")
            others = ", ".join(known for known in RUNTIMES if known not in PLANS)
            of_plans = f"{' or '.join(FLAVOURS)} with -PRECISION, -tuned and {GRAPHED} for a bundle's plans"
            raise InputError(f"received runtime {name!r}; expected {others}, or {of_plans}; {hint}")
    if names:
        return tuple(name for name in RUNTIMES if name in names)
    there = {name for name, kind in PLANS.items() if kind.key in plans} or {TENSORRT}
    return tuple(name for name in RUNTIMES if name not in PLANS or name in there)
