"""A stage of a verdict: the runtime, the precision of its graph, and the kind of check."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from functools import lru_cache
from itertools import product
from typing import Any

from ...core.precision import FP32, PRECISIONS
from ...engines.tensorrt.flavours import FLAVOURS

# ONNX Runtime without optimisations on the graph as PyTorch exported it and as it is deployed; ONNX Runtime as
# production runs it; and with the graph that `tune` wrote.
EXPORTED, WRITTEN, ORT_CPU, ORT_TUNED = "torch → onnx", "simplified", "onnxruntime cpu", "onnxruntime cpu, tuned"
ORT_CUDA, ORT_TENSORRT = "onnxruntime cuda", "onnxruntime tensorrt"
# The file of somebody else, node by node, without optimisations.
ORT_PLAIN = "onnxruntime, as written"
# The plan of the graph that `tune` wrote for a TensorRT, and that graph itself, node by node, without optimisations.
TUNED_PLAN = {name: f"{name}, tuned" for name in FLAVOURS}
TUNED_GRAPH = {name: f"tuned for {name}" for name in FLAVOURS}
# A graph for the TensorRT plugin, each of the plugin's nodes written out in ONNX's own operators.
PLUGIN_GRAPH = "the plugin's gates written out"
# A server, by the protocol through which it was asked.
TRITON = {"grpc": "triton grpc", "http": "triton http"}
_TENSORRT = (*FLAVOURS, *TUNED_PLAN.values(), *TUNED_GRAPH.values())
RUNTIMES = (
    EXPORTED,
    WRITTEN,
    ORT_PLAIN,
    ORT_CPU,
    ORT_TUNED,
    ORT_CUDA,
    ORT_TENSORRT,
    *_TENSORRT,
    PLUGIN_GRAPH,
    *TRITON.values(),
)
# The outputs beside float64 PyTorch's; the rows of a batch beside each other; the layers of a plan, by its inspector.
# For a server: the rows of a batch as requests of their own, sent at the same time.
VALUES, ROWS, LAYERS, TOGETHER = "values", "batch consistency", "layer precision", "requests at the same time"
_ENDS = {VALUES: "", ROWS: ", rows", LAYERS: ", layers", TOGETHER: ", together"}


@dataclass(frozen=True)
class Stage:
    """A stage. Its ``label`` is what people read, in the table and in the manifest; nothing is read out of it.

    Args:
        runtime: One of RUNTIMES.
        precision: That of the graph; "" for a stage about the runtime itself.
        kind: What is checked: VALUES, ROWS, LAYERS or TOGETHER.
    """

    runtime: str
    precision: str = FP32
    kind: str = VALUES

    def __str__(self) -> str:
        return self.label

    @property
    def label(self) -> str:
        """Return its name: ``fp16 onnxruntime cpu``, ``tensorrt fp16, rows``."""
        if self == Stage(ORT_CPU, kind=ROWS):  # the one such check of float32 that every verdict has
            return ROWS
        return self._name + _ENDS[self.kind]

    def to_json(self) -> dict[str, str]:
        """Plain data for the manifest, the label first."""
        return {"stage": self.label, **asdict(self)}

    @property
    def _name(self) -> str:
        if self.runtime in FLAVOURS:
            return f"{self.runtime} {self.precision}".rstrip()
        if self.runtime in TUNED_PLAN.values():
            flavour, _, tuned = self.runtime.partition(",")
            return f"{flavour} {self.precision},{tuned}"
        if self.runtime in TUNED_GRAPH.values():
            return f"{self.precision} {self.runtime}"
        if self.precision in ("", FP32):
            return self.runtime
        return self.precision if self.runtime == WRITTEN else f"{self.precision} {self.runtime}"


def expected_stages(lower: Iterable[str]) -> list[Stage]:
    """Return the stages of a float32 module and of the precisions below it, as far as they can be told without it."""
    own = (Stage(EXPORTED), *given_stages(WRITTEN, FP32))
    return [*own, *(stage for precision in lower for stage in lower_stages(precision))]


def lower_stages(precision: str) -> tuple[Stage, ...]:
    """Return the stages of a lower precision in ONNX Runtime on the CPU.

    They run the graph as its precision says and, if ONNX Runtime may have it on the CPU, as it runs in production.
    """
    written = Stage(WRITTEN, precision)
    row = PRECISIONS[precision]
    return (written, Stage(ORT_CPU, precision)) if row.graph != "float32" and row.is_optimised else (written,)


def given_stages(runtime: str, precision: str) -> tuple[Stage, ...]:
    """Return the stages of a graph that is judged as it is, whatever it computes in: in ``runtime``, then as production
    runs it, if ONNX Runtime can."""
    row = PRECISIONS[precision]
    production = (Stage(ORT_CPU, precision),) if row.has_cpu_kernels and row.is_optimised else ()
    return (Stage(runtime, precision), *production)


def read_stage(entry: Mapping[str, Any]) -> Stage:
    """Read what ``to_json`` wrote, or the label alone, which is all that earlier versions wrote.

    Raises KeyError if there is none, and ValueError if the label is another stage's.
    """
    label = str(entry["stage"])
    if "runtime" not in entry:
        return _labels().get(label) or Stage(label)
    stage = Stage(*(str(entry[name]) for name in ("runtime", "precision", "kind")))
    if stage.label != label:
        raise ValueError(f"stage {label!r} is {stage.label!r}")
    return stage


def plan_stage(flavour: str, precision: str, kind: str = VALUES, *, tuned: bool) -> Stage:
    """Return the stage of a plan of this TensorRT and precision, of the tuned graph or of the precision's own."""
    return Stage(TUNED_PLAN[flavour] if tuned else flavour, precision, kind)


@lru_cache(maxsize=1)
def _labels() -> dict[str, Stage]:
    known = [Stage(*parts) for parts in product(RUNTIMES, PRECISIONS, _ENDS)] + [Stage(name, "") for name in FLAVOURS]
    return {**{stage.label: stage for stage in known}, "metamorphic": Stage(ORT_CPU, kind=ROWS)}
