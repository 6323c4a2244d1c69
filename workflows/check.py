"""Check an ONNX file that something else wrote: its contract, its numbers in ONNX Runtime, whether TensorRT takes it.

The truth is the graph itself in float64, or a PyTorch module that the file claims to be. Everything that computes with
the file, or only reads it, is a child process under a limit of time and of memory.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..core.arguments import checked
from ..core.memory import child_bytes, children_take
from ..core.precision import FP32
from ..core.progress import Progress, StageTimes
from ..core.scratch import scratch
from ..core.tensor_spec import Axis, TensorSpec
from ..engines.child import ANSWER_SECONDS
from ..engines.tensorrt.flavours import RTX
from ..engines.tensorrt.targets import DEFAULT as DEFAULT_CAPABILITIES
from ..engines.tensorrt.targets import parse_targets
from ..errors import InputError
from ..export.onnx_axes import choose_sizes
from ..export.onnx_file import OnnxFile, OnnxFileReader
from ..validate.stages.build import BuildStages
from ..validate.stages.tensorrt import without_plan
from ..validate.verdict import Verdict
from .default_device import on_cpu
from .file_judgement import FileGraph, FileJudge, build_against
from .options import Judging, PrecisionRequest, Weights

if TYPE_CHECKING:
    from torch import nn

    from ..modules.dynamic import Ranges

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
        has_weights: That module has parameters or buffers.
    """

    file: OnnxFile
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    axes: Mapping[str, Axis]
    verdict: Verdict
    against: str = ""
    notes: tuple[str, ...] = ()
    has_weights: bool = False

    @property
    def passed(self) -> bool:
        """True if the verdict is a pass."""
        return bool(self.verdict)

    def to_json(self) -> dict[str, Any]:
        """Return every field by name, as plain data."""
        return {
            "file": self.file.to_json(),
            "passed": self.passed,
            "against": self.against or None,
            "inputs": [spec.to_json() for spec in self.inputs],
            "outputs": [spec.to_json() for spec in self.outputs],
            "axes": {name: axis.to_json() for name, axis in self.axes.items()},
            "notes": [*self.notes],
            "verdict": self.verdict.to_json(),
        }


@checked
@on_cpu
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
            file's of the same names, else in order. Without one the truth is the graph itself in float64.
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
    with scratch("check") as folder, children_take(child_bytes(memory_gib)):
        times.start("read", "reading the file")
        with OnnxFileReader(Path(path), seconds=seconds) as reader:
            file = reader.read()
            inputs, axes = choose_sizes(file, shapes, dynamic)
            graph = reader.write(folder / "model.onnx", file, inputs, axes)
        if against is not None:
            times.start("build", "building the PyTorch module")
        weights = weights or Weights()
        module = build_against(against, graph, weights, file)
        model = FileGraph(graph, graph, file=file, itself=file.path.absolute())
        judge = FileJudge(model, request, weights, judging, folder, seconds, times, module)
        found = _checked(judge, against, build_for)
        file.require_unchanged()
        return found


def _checked(judge: FileJudge, against: str | nn.Module | None, build_for: Sequence[str]) -> CheckedModel:
    """Judge the file and what was made of it."""
    file, graph, cases = judge.model.file, judge.model.graph, judge.cases()
    lowered, refused = judge.lowered(cases)
    with BuildStages(judge.folder, build_for, keeps_log=False) as builds:
        builds.open(None, {file.precision: graph, **{name: low.graph for name, low in lowered.items()}})
        found = judge.judge(cases, lowered)
        judge.times.start("tensorrt", "building plans with TensorRT for RTX")
        stages = (*found.verdict.stages, *refused, without_plan(NO_PLAN), *builds.results())
    verdict = replace(found.verdict, stages=stages)
    notes = [*file.notes, *judge.notes, *(note for low in lowered.values() for note in low.notes), *found.hidden()]
    has_weights = judge.module is not None and bool(judge.module.state_dict())
    return CheckedModel(
        file,
        graph.inputs,
        graph.outputs,
        graph.axes,
        verdict,
        against=name_of(against),
        notes=tuple(notes),
        has_weights=has_weights,
    )


def name_of(against: str | nn.Module | None) -> str:
    """Return the name of a module that a file is held against; "" without one."""
    return against if isinstance(against, str) else "" if against is None else type(against).__name__
