"""Runners: plain data that says what a timed process loads, and the code that loads it there.

A new runtime needs a class here, or in a file of its own, and an entry in runtimes.py.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, ClassVar, Protocol

from ...core.graph_io import FLOAT32
from ..ort_runtime import FLOAT32_ALONE, OrtRuntime
from ..runtime import Arrays, Runtime


class Preparable(Runtime, Protocol):
    """A runtime that can be called without moving its inputs and outputs."""

    def prepare(self, sets: Sequence[Arrays]) -> list[Callable[[], object]]: ...


@dataclass(frozen=True)
class Runner(ABC):
    """A model in a runtime. The fields of a subclass are what JSON holds, and paths.

    Attributes:
        product: The runtime's name in messages.
        environment: Variables of the environment that the process is started with.
        io: The type in which the model takes float inputs.
    """

    product: ClassVar[str]
    io = FLOAT32
    environment: ClassVar[Mapping[str, str]] = FLOAT32_ALONE

    @abstractmethod
    def open(self, threads: int) -> Preparable:
        """Load the model with so many threads, in the process that times it."""

    def to_json(self) -> dict[str, Any]:
        """Return the class and the fields, for ``open_described``."""
        return {"module": type(self).__module__, "class": type(self).__qualname__, "fields": asdict(self)}


def open_described(described: Mapping[str, Any], threads: int) -> Preparable:
    """Load the model that the ``to_json`` of a runner describes; its paths are text by now."""
    kind: type[Runner] = getattr(import_module(described["module"]), described["class"])
    return kind(**described["fields"]).open(threads)


@dataclass(frozen=True)
class TorchRunner(Runner):
    """A catalog's or a user's module in PyTorch.

    Attributes:
        spec: The target.
        shapes: Of every input the shape that the module is built for, as ``x=1x16x4x4:float32``.
        seed: That of the random parts of the module's structure.
        weights: The file that ``save_weights`` wrote.
        output_names: Those of the graph.
        trust: The target may be a file that runs code of its author when it is read.
        compiled: Run it through torch.compile.
        on_gpu: Run it on the GPU.
        half: Compute in float16, maps channels last.
        graphed: Have a CUDA graph launch its kernels.
    """

    product = "PyTorch"
    spec: str
    shapes: tuple[str, ...]
    seed: int
    weights: Path
    output_names: tuple[str, ...]
    trust: bool = False
    compiled: bool = False
    on_gpu: bool = False
    half: bool = False
    graphed: bool = False

    def open(self, threads: int) -> Preparable:
        """Build the module anew and load its weights. Raises what the catalog raises, and torch for other weights."""
        from ...modules import catalog
        from ..torch_runtime import TorchRuntime, load_weights, set_threads

        set_threads(threads)
        plan = catalog.read(self.spec, shapes=self.shapes, seed=self.seed, trust=self.trust)
        # Without its weights a module is there in a fraction of the time.
        module, _ = plan.recipe.structure(plan.inputs, plan.axes)
        load_weights(module, Path(self.weights))
        how = {"compiled": self.compiled, "half": self.half, "graphed": self.graphed}
        return TorchRuntime(module, self.output_names, device="cuda" if self.on_gpu else None, **how)


@dataclass(frozen=True)
class OrtRunner(Runner):
    """A graph file in ONNX Runtime with the provider that must run it.

    ``profile`` is a folder for ONNX Runtime's notes of the time that each node takes; None keeps no notes.
    """

    product = "ONNX Runtime"
    model: Path
    provider: str
    profile: Path | None = None

    def open(self, threads: int) -> Preparable:
        """Load the graph. Raises what ``OrtRuntime`` raises."""
        profile = Path(self.profile) if self.profile else None
        return OrtRuntime(Path(self.model), provider=self.provider, threads=threads, profile=profile)


@dataclass(frozen=True)
class PlanRunner(Runner):
    """A TensorRT plan with ``about``, the return of ``isolated.checked``.

    ``graphed`` has a CUDA graph launch its kernels. ``io`` is the type in which the plan takes what is float32 in the
    float32 graph. ``profiled`` has TensorRT's profiler time each layer, which it does not in a CUDA graph.
    """

    product = "TensorRT"
    # a plan's kernels were chosen when it was built
    environment = {}  # noqa: RUF012 - never changed
    plan: Path
    about: str
    graphed: bool = False
    io: str = FLOAT32
    profiled: bool = False

    def open(self, threads: int) -> Preparable:
        """Load the plan; the GPU does not ask for ``threads``. Raises what ``runtime_child.open_described`` raises."""
        from ..tensorrt import runtime_child

        return runtime_child.open_described(Path(self.plan), self.about, graphed=self.graphed, profiled=self.profiled)


@dataclass(frozen=True)
class CopyRunner(Runner):
    """Copies in the GPU's memory, timed in turn with plans: ``copies`` of ``size`` bytes in each call.

    ``graphed`` has a CUDA graph launch them, as it launches the kernels of a plan.
    """

    product = "the NVIDIA driver"
    environment = {}  # noqa: RUF012 - never changed
    size: int
    copies: int
    graphed: bool = False

    @property
    def moved(self) -> int:
        """Return the bytes that a call reads and writes."""
        return 2 * self.size * self.copies

    def open(self, threads: int) -> Preparable:
        """Reserve the memory; the GPU does not ask for ``threads``. Raises what ``CopyRuntime`` raises."""
        from ..tensorrt.bandwidth import CopyRuntime

        return CopyRuntime(self.size, self.copies, graphed=self.graphed)
