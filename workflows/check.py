"""Check an ONNX file that something else wrote: its contract, its numbers in ONNX Runtime, whether TensorRT takes it.

The truth is the graph itself in float64, or a PyTorch module that the file claims to be. Everything that computes with
the file, or only reads it, is a child process under a limit of time and of memory.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..core.bundle import REFERENCE, axis_to_json, spec_to_json
from ..core.graph import OnnxGraph
from ..core.memory import children_take, machine_bytes
from ..core.precision import CAST, FP32, PRECISIONS, QUANTISED
from ..core.preprocessing import Preprocessing
from ..core.progress import Progress, StageTimes
from ..core.scratch import scratch
from ..core.tensor_spec import Axis, TensorSpec
from ..engines.child import ANSWER_SECONDS
from ..engines.tensorrt.flavours import RTX
from ..engines.tensorrt.targets import DEFAULT as DEFAULT_CAPABILITIES
from ..engines.tensorrt.targets import parse_targets
from ..errors import Attn2trtError, InputError
from ..export.onnx_axes import choose_sizes
from ..export.onnx_file import OnnxFile, OnnxFileReader
from ..export.precision import LowPrecisionGraph
from ..export.quantized import QuantizedGraph
from ..validate.cases import Case, make_cases
from ..validate.metrics import GRAPH, PYTORCH
from ..validate.onnx_reference.isolated import IsolatedEvaluator
from ..validate.onnx_reference.references import GraphLower, graph_references
from ..validate.onnx_reference.rounding import half_rounding, level_rounding
from ..validate.recorded import from_tensors
from ..validate.stages.build import BuildStages
from ..validate.stages.onnx_file import FileStages, JudgedGraph
from ..validate.stages.stage import lower_stages
from ..validate.stages.tensorrt import without_plan
from ..validate.verdict import StageResult, Verdict, not_checked
from .judgement import record
from .options import Judging, PrecisionRequest, Weights
from .precision import PrecisionWriter, floor_of

if TYPE_CHECKING:
    from torch import nn

    from ..modules.dynamic import Ranges
    from ..validate.metrics import Reference

Truth = Iterator[tuple[Case, "Reference | Exception"]]
# Of the machine's memory, for each child.
MEMORY_SHARE = 0.75
NO_PLAN = "a plan is built on the GPU that runs it: check builds none"


@dataclass(frozen=True)
class CheckedModel:
    """An ONNX file with the verdict on it.

    Attributes:
        file: What the file is.
        inputs: Its inputs with the axes that vary.
        outputs: Its outputs.
        axes: The range of each axis.
        verdict: Every stage's result.
        against: The PyTorch module that the truth is of; "" if it is the graph itself.
        notes: Sentences about what was changed or written on the way.
    """

    file: OnnxFile
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    axes: Mapping[str, Axis]
    verdict: Verdict
    against: str = ""
    notes: tuple[str, ...] = ()

    @property
    def passed(self) -> bool:
        """True if the verdict is a pass."""
        return bool(self.verdict)

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "file": self.file.to_json(),
            "passed": self.passed,
            "against": self.against or None,
            "inputs": [spec_to_json(spec) for spec in self.inputs],
            "outputs": [spec_to_json(spec) for spec in self.outputs],
            "axes": {name: axis_to_json(axis) for name, axis in self.axes.items()},
            "notes": [*self.notes],
            "verdict": self.verdict.to_json(),
        }


def check_model(
    path: Path | str,
    *,
    against: str | nn.Module | None = None,
    shapes: Sequence[str] = (),
    dynamic: str | Ranges | None = None,
    precision: str | Sequence[str] | PrecisionRequest = FP32,
    weights: Weights | None = None,
    judging: Judging | None = None,
    capabilities: str = DEFAULT_CAPABILITIES,
    seconds: float = ANSWER_SECONDS,
    memory_gib: float | None = None,
    progress: Progress | None = None,
) -> CheckedModel:
    """Check an ONNX file, and return what it is with the verdict on it.

    Failed numerics do not raise: ``passed`` is then False, and the verdict says why.

    Args:
        path: The file; weights beside it must lie in its folder.
        against: A PyTorch module, or the name of one, whose float64 is the truth; its inputs and outputs are the
            file's in order. Without one the truth is the graph itself in float64.
        shapes: Sizes of inputs, ``["image=2x3x64x64"]``, for what the file leaves open.
        dynamic: Ranges of the file's symbolic dimensions, ``"batch=1:2:8,height=32:64:128"``. A batch that is not named
            is 1:2:8.
        precision: Graphs to write of a float32 file and to judge beside it, ``"fp32,fp16"``, or a request.
        weights: The source of the weights of a module that ``against`` names.
        judging: The way in which the verdict is reached.
        capabilities: Those that TensorRT for RTX builds for, ``"sm86,sm120"``; ``"none"`` builds nothing.
        seconds: Time limit of every answer of a child process.
        memory_gib: Most memory of each child process; three quarters of the machine's by default.
        progress: Called with a line for every step.

    Raises:
        InputError: The file is no ONNX file or breaks ONNX's rules, or an argument does not fit it.
        MissingRequirement: A package that is needed is not installed.
        StorageError: Reading or writing failed.
    """
    times = StageTimes(progress)
    judging = judging or Judging()
    if not judging.verdict:
        raise InputError("received judging without a verdict, which is all that check gives; leave verdict out")
    request = PrecisionRequest.of(precision)
    if request.chooses:
        raise InputError("received precision auto; expected names, as fp32,fp16: auto chooses for attn2trt deploy")
    build_for = parse_targets(capabilities, RTX)
    most = int(machine_bytes() * MEMORY_SHARE) if memory_gib is None else int(memory_gib * 2**30)
    with scratch("check") as folder, children_take(most):
        times.start("read", "reading the file")
        with OnnxFileReader(Path(path), seconds=seconds) as reader:
            file = reader.read()
            inputs, axes = choose_sizes(file, shapes, dynamic)
            graph = reader.write(folder / "model.onnx", file, inputs, axes)
        return _Check(file, graph, request, weights or Weights(), judging, folder, seconds, times).run(
            against, build_for
        )


@dataclass(frozen=True)
class _Fed:
    """The attributes of a target that ``calibration_inputs`` reads."""

    inputs: tuple[TensorSpec, ...]
    axes: Mapping[str, Axis]
    preprocessing: Preprocessing | None = None


@dataclass(frozen=True)
class _Check:
    """One file on its way to a verdict; the fields are what ``check_model`` was given, checked."""

    file: OnnxFile
    graph: OnnxGraph
    request: PrecisionRequest
    weights: Weights
    judging: Judging
    folder: Path
    seconds: float
    times: StageTimes

    def run(self, against: str | nn.Module | None, build_for: Sequence[str]) -> CheckedModel:
        """Judge the file and what was made of it."""
        module = None if against is None else self._module(against)
        cases = self._cases()
        lowered, refused = self._lowered(cases, module)
        with BuildStages(self.folder, build_for, keeps_log=False) as builds:
            builds.open(None, {self.file.precision: self.graph, **{name: low.graph for name, low in lowered.items()}})
            stages = self._judged(cases, lowered, module)
            self.times.start("tensorrt", "building plans with TensorRT for RTX")
            stages += [*refused, without_plan(NO_PLAN), *builds.results()]
        source = GRAPH if module is None else PYTORCH
        verdict = Verdict(tuple(stages), self.judging.allow_float32_truth, source)
        notes = [*self.file.notes, *(note for low in lowered.values() for note in low.notes)]
        name = "" if module is None else against if isinstance(against, str) else type(module).__name__
        return CheckedModel(
            self.file, self.graph.inputs, self.graph.outputs, self.graph.axes, verdict, str(name), tuple(notes)
        )

    def _cases(self) -> list[Case]:
        photographs = None if self.judging.inputs is None else Path(self.judging.inputs)
        return make_cases(self.graph.inputs, self.graph.axes, seed=self.weights.seed, images=photographs)

    def _module(self, against: str | nn.Module) -> nn.Module:
        self.times.start("build", "building the PyTorch module")
        from ..modules.packages import require
        from .module_inputs import require_inputs

        require()
        module = against
        if isinstance(against, str):
            from ..modules.catalog import build

            options = {"pretrained": self.weights.pretrained, "checkpoint": self.weights.checkpoint}
            module = build(against, shapes=self._shapes(), seed=self.weights.seed, **options)  # type: ignore[arg-type]
        require_inputs(module, [spec.name for spec in self.graph.inputs], str(self.file.path))  # type: ignore[arg-type]
        return module  # type: ignore[return-value]

    def _shapes(self) -> list[str]:
        """Return the shape of the file's only input, from which a block of the catalogue takes its width."""
        sizes = {name: axis.opt for name, axis in self.graph.axes.items()}
        shapes = ["x".join(map(str, spec.resolve(sizes))) for spec in self.graph.inputs]
        return shapes if len(shapes) == 1 and shapes[0] else []

    def _lowered(
        self, cases: Sequence[Case], module: nn.Module | None
    ) -> tuple[dict[str, LowPrecisionGraph], list[StageResult]]:
        """Return the graphs below float32, and a stage for each that cannot be made of this file."""
        fed = _Fed(self.graph.inputs, self.graph.axes)
        writer = PrecisionWriter(
            self.request, self.graph, fed, cases, self.folder, module, self.weights.seed, self.times.start
        )
        lowered: dict[str, LowPrecisionGraph] = {}
        refused = []
        for precision in self.request.lower:
            stage = lower_stages(precision)[0]
            if self.file.precision != FP32:
                words = PRECISIONS[self.file.precision].words
                refused.append(not_checked(stage, f"the file computes in {words} itself: nothing is lowered"))
            elif precision not in {*CAST, *QUANTISED} and module is None:
                refused.append(not_checked(stage, f"{precision} is judged beside PyTorch's; add --against"))
            else:
                try:
                    lowered[precision] = writer.write(precision)
                except Attn2trtError as error:
                    refused.append(not_checked(stage, f"no {precision} graph was made of the file: {error}"))
        return lowered, refused

    def _judged(
        self, cases: Sequence[Case], lowered: Mapping[str, LowPrecisionGraph], module: nn.Module | None
    ) -> list[StageResult]:
        self.times.start("reference", "computing the float64 truth and judging every stage against it")
        declared = self.graph.outputs
        graphs = [JudgedGraph(self.graph.path, self.file.precision, declared)]
        graphs += [JudgedGraph(low.graph.path, name, declared, is_given=False) for name, low in lowered.items()]
        with FileStages(graphs, self.judging.max_error, self.seconds) as stages, ExitStack() as stack:
            truth = self._by_itself(cases, lowered, stack) if module is None else self._by(module, cases, lowered)
            index, _ = record(stages.watch(truth), self.folder / REFERENCE)
            pairs = partial(from_tensors, self.folder / REFERENCE, index)
            return stages.results(pairs)

    def _by_itself(self, cases: Sequence[Case], lowered: Mapping[str, LowPrecisionGraph], stack: ExitStack) -> Truth:
        """The truth of the graph itself."""
        double, single = (
            stack.enter_context(IsolatedEvaluator(self.graph.path, dtype, seconds=self.seconds))
            for dtype in ("float64", "float32")
        )
        lower = [] if self.file.precision == FP32 else [GraphLower(self.file.precision)]
        lower += [GraphLower(name, self._rounding(low)) for name, low in lowered.items()]
        return graph_references(double, single, cases, seed=self.weights.seed, lower=lower)

    def _rounding(self, low: LowPrecisionGraph) -> Any:
        row = PRECISIONS[low.precision]
        if isinstance(low, QuantizedGraph):
            return level_rounding(self.graph.path, low.lowered, low.ranges, row)
        return half_rounding(low.lowered, row)

    def _by(self, module: nn.Module, cases: Sequence[Case], lowered: Mapping[str, LowPrecisionGraph]) -> Truth:
        """The truth of a PyTorch module."""
        from ..validate.half_precision import Half
        from ..validate.reference import references

        lower = [floor_of(low) for low in lowered.values()]
        lower += [Half(self.file.precision)] if self.file.precision in CAST else []
        names = [spec.name for spec in self.graph.outputs]
        return zip(cases, references(module, cases, names, seed=self.weights.seed, lower=lower), strict=True)
