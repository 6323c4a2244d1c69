"""Check a TensorRT plan that something else built, beside the float64 of the ONNX file or bundle that it came from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..core.arguments import checked
from ..core.bundle import open_bundle
from ..core.file_hashes import require_unchanged
from ..core.graph_io import FLOAT32
from ..core.input_path import require_readable
from ..core.manifest import REFERENCE
from ..core.memory import child_bytes, children_take
from ..core.precision import FP16, FP32, PRECISIONS
from ..core.progress import Progress, StageTimes
from ..core.scratch import scratch
from ..core.tensor_spec import TensorSpec
from ..engines.child import ANSWER_SECONDS
from ..engines.tensorrt.foreign_plan import ForeignPlan, require_here
from ..engines.tensorrt.layers import computed, read_layers
from ..engines.tensorrt.plan_header import PlanHeader, read_header
from ..engines.tensorrt.plugin.library import PluginLibrary, read_plugin
from ..errors import CheckFailed, InputError
from ..export.onnx_axes import choose_sizes
from ..export.onnx_file import OnnxFileReader
from ..validate.missing_cases import require_cases
from ..validate.recorded import from_tensors, recorded_cases
from ..validate.stages.foreign_plan import judge_foreign, judge_foreign_layers, outside
from ..validate.stages.judge import Pairs
from ..validate.stages.stage import Stage
from ..validate.verdict import StageResult, Verdict
from .default_device import on_cpu
from .file_judgement import FileGraph, FileJudge, build_against
from .options import Judging, PrecisionRequest, Weights

if TYPE_CHECKING:
    from torch import nn

    from ..modules.dynamic import Ranges

HALF = PRECISIONS[FP16].dtype


@dataclass(frozen=True)
class CheckedPlan:
    """A plan with the verdict on it.

    Attributes:
        path: The plan.
        header: The product and the version that built it.
        sha256: Its hash.
        model: The ONNX file or bundle that it is held against.
        precision: The precision whose floors it was held to.
        layers: The number of layers by the precision that they compute in, "" for those that the inspector leaves open.
        verdict: Every stage's result.
        notes: Sentences about what was not compared.
        plugin: The hash of the library of plugins that it was run with; "" for none.
    """

    path: Path
    header: PlanHeader
    sha256: str
    model: Path
    precision: str
    layers: Mapping[str, int]
    verdict: Verdict
    notes: tuple[str, ...] = ()
    plugin: str = ""

    @property
    def passed(self) -> bool:
        """True if the verdict is a pass."""
        return bool(self.verdict)

    def to_json(self) -> dict[str, Any]:
        """Return every field by name, as plain data."""
        return {
            "plan": str(self.path),
            "sha256": self.sha256,
            "flavour": self.header.flavour.name,
            "version": str(self.header.version),
            "model": str(self.model),
            "passed": self.passed,
            "precision": self.precision,
            "layers": {name or "unknown": count for name, count in self.layers.items()},
            "notes": [*self.notes],
            "plugin": self.plugin or None,
            "verdict": self.verdict.to_json(),
        }


@checked
@on_cpu
def check_plan(
    plan: Path | str,
    model: Path | str,
    *,
    trust: bool,
    precision: str | None = None,
    plugin: Path | str | None = None,
    against: str | nn.Module | None = None,
    shapes: Sequence[str] = (),
    dynamic: str | Ranges | None = None,
    weights: Weights | None = None,
    judging: Judging | None = None,
    seconds: float = ANSWER_SECONDS,
    memory_gib: float | None = None,
    progress: Progress | None = None,
) -> CheckedPlan:
    """Run a plan beside the float64 of the model that it was built from, and return what it is with the verdict on it.

    Args:
        plan: The file. It is deserialised in a process of its own.
        model: The ONNX file that the plan was built from, or a bundle, whose recorded cases are taken.
        trust: The caller knows who built the plan: TensorRT runs what is in it.
        precision: The precision that it was built in. Without it the one that the inspector tells of its layers, and
            float32 if that tells none.
        plugin: A folder that ``compile_plugin`` wrote, whose library the plan needs. It is loaded only if its hash is
            the one that is listed there.
        against: A PyTorch module whose float64 is the truth, with an ONNX file alone.
        shapes: Sizes of inputs that the file leaves open, with an ONNX file alone.
        dynamic: Ranges of its symbolic dimensions, likewise.
        weights: The source of the weights of a module that ``against`` names.
        judging: The way in which the verdict is reached.
        seconds: Time limit of every answer of a child process.
        memory_gib: Most memory of each child process but the plan's; three quarters of the machine's by default.
        progress: Called with a line for every step.

    Raises:
        InputError: The plan is not trusted, or it or the model is no such file, or an argument does not fit.
        MissingRequirement: There is no GPU, no TensorRT, or another version of it.
        CheckFailed: TensorRT refuses the plan, or it was built from another model.
        StorageError: Reading failed.
    """
    path, model = Path(plan), Path(model)
    if not trust:
        raise InputError(
            f"received --plan {path} without --trust; expected it with a plan whose builder you know, since TensorRT "
            "runs what is in a plan; add --trust if you do"
        )
    if precision is not None and precision not in PRECISIONS:
        raise InputError(f"received --precision {precision} with a plan; expected one of {', '.join(PRECISIONS)}")
    header = read_header(path)
    library = None if plugin is None else _library(Path(plugin), header)
    _require_model(model, is_described=bool(shapes) or dynamic is not None or against is not None)
    require_here(path, header)
    checking = _Checking(
        path,
        header,
        precision,
        library,
        weights or Weights(),
        judging or Judging(),
        seconds,
        child_bytes(memory_gib),
        StageTimes(progress),
    )
    return checking.beside_bundle(model) if model.is_dir() else checking.beside_file(model, shapes, dynamic, against)


def _require_model(model: Path, *, is_described: bool) -> None:
    """Raise InputError for what is neither an ONNX file nor a bundle, and for a bundle that is described again."""
    if not model.is_dir():
        require_readable(model, "an ONNX file")
        return
    open_bundle(model)
    if is_described:
        raise InputError(
            f"received --shape, --dynamic or --against with the bundle {model}, which has its cases already; expected "
            "them with an ONNX file; leave them out"
        )


@dataclass(frozen=True)
class _Held:
    """The cases with references that a plan is held against.

    Attributes:
        pairs: The cases.
        source: The owner of the truth.
        graph: The graph in the plan's precision.
        hidden: Sentences about what near ties decide.
    """

    pairs: Pairs
    source: str
    graph: Path
    hidden: Sequence[str]


@dataclass(frozen=True)
class _Precision:
    """The precision of a plan.

    Attributes:
        name: The one whose floors the outputs are held to.
        is_asked: It was asked for.
        layers: The number of layers by precision, as the inspector tells.
        takes_half: Some float input or output is float16.
    """

    name: str
    is_asked: bool
    layers: Mapping[str, int]
    takes_half: bool

    @property
    def is_known(self) -> bool:
        """True if the caller or the inspector named it."""
        return self.is_asked or any(self.layers.get(name) for name in PRECISIONS)


@dataclass(frozen=True)
class _Checking:
    """A plan on its way to a verdict; the fields are what ``check_plan`` was given, checked."""

    path: Path
    header: PlanHeader
    asked: str | None
    plugin: PluginLibrary | None
    weights: Weights
    judging: Judging
    seconds: float
    most_bytes: int
    times: StageTimes

    def beside_bundle(self, folder: Path) -> CheckedPlan:
        """Judge the plan on the cases that a bundle recorded."""
        bundle = open_bundle(folder)
        self.times.start("verify", "checking hashes")
        require_unchanged(bundle)
        require_cases(bundle)
        with self._opened(bundle.inputs, bundle.outputs) as plan:
            found = self._precision(plan, bundle.inputs, bundle.outputs)
            if found.takes_half and not any(bundle.io(name) == HALF for name in bundle.graphs):
                raise InputError(
                    f"received {self.path}, whose inputs or outputs are float16, with {folder}, whose cases are not "
                    "rounded to it; expected a bundle with such a graph; deploy it with --precision fp32,fp16 --io fp16"
                )
            graph = bundle.path / bundle.graphs.get(found.name, bundle.model_path.name)
            source = Verdict.from_json(bundle.manifest["verdict"]).source
            held = _Held(partial(recorded_cases, bundle), source, graph, bundle.manifest.get("hidden", []))
            return self._checked(plan, found, held, folder, bundle.outputs)

    def beside_file(
        self, file: Path, shapes: Sequence[str], dynamic: str | Ranges | None, against: str | nn.Module | None
    ) -> CheckedPlan:
        """Judge the plan on cases of an ONNX file, whose float64 is computed first."""
        with scratch("check") as folder:
            with children_take(self.most_bytes):
                self.times.start("read", "reading the file")
                with OnnxFileReader(file, seconds=self.seconds) as reader:
                    read = reader.read()
                    inputs, axes = choose_sizes(read, shapes, dynamic)
                    graph = reader.write(folder / "model.onnx", read, inputs, axes)
            # not within the limit: CUDA reserves more memory than it takes
            with self._opened(inputs, graph.outputs) as plan:
                found = self._precision(plan, inputs, graph.outputs)
                with children_take(self.most_bytes):
                    held = self._truth(FileGraph(graph, graph, file=read), found, folder, against)
                return self._checked(plan, found, held, file, graph.outputs)

    @contextmanager
    def _opened(self, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]) -> Iterator[ForeignPlan]:
        self.times.start("plan", f"deserialising the plan with {self.header.flavour.title}")
        plugin, seconds = self.plugin, self.seconds
        with ForeignPlan(self.path, self.header, inputs, outputs, plugin=plugin, seconds=seconds) as plan:
            try:
                plan.load()
            except CheckFailed as error:
                raise CheckFailed(f"received {self.path}, a plan of {self.header}: {error}") from error
            yield plan

    def _precision(self, plan: ForeignPlan, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]) -> _Precision:
        """Return the precision to hold the plan to: the coarsest that a layer computes in, unless one was asked for."""
        try:
            counts = computed(read_layers(plan.layers()))
        except (ValueError, CheckFailed):
            counts = computed(())
        half = any(plan.types[spec.name] == HALF != spec.dtype for spec in (*inputs, *outputs))
        known = [name for name in PRECISIONS if counts[name] or (half and name == FP16)]
        return _Precision(self.asked or (known[-1] if known else FP32), self.asked is not None, counts, half)

    def _truth(self, model: FileGraph, found: _Precision, folder: Path, against: str | nn.Module | None) -> _Held:
        """Compute the float64 of the file, or of a PyTorch module, and what is lost in the plan's precision."""
        own = model.file.precision
        lower = [name for name in (found.name, *([FP16] if found.takes_half else [])) if name not in (FP32, own)]
        io = FP16 if found.takes_half and FP16 in lower else FP32
        request = PrecisionRequest(precisions=[FP32, *lower], io=io)
        module = build_against(against, model.graph, self.weights, model.file)
        judging = replace(self.judging, verdict=False)
        judge = FileJudge(model, request, self.weights, judging, folder, self.seconds, self.times, module)
        cases = judge.cases()
        lowered = {name: judge.write(name, cases) for name in judge.lower}
        truth = judge.judge(cases, lowered)
        if not truth.cases:
            raise judge.without_truth(truth, "hold the plan against")
        graph = lowered[found.name].graph if found.name in lowered else model.graph
        return _Held(
            partial(from_tensors, folder / REFERENCE, truth.cases), truth.verdict.source, graph.path, truth.hidden()
        )

    def _checked(
        self, plan: ForeignPlan, found: _Precision, held: _Held, model: Path, declared: Sequence[TensorSpec]
    ) -> CheckedPlan:
        self.times.start("judge", "judging the plan")
        pairs = partial(_for, held.pairs, HALF if found.takes_half else FLOAT32)
        stage = Stage(self.header.flavour.name, found.name)
        stages: list[StageResult] = judge_foreign(plan, stage, pairs, declared, max_error=self.judging.max_error)
        stages.append(judge_foreign_layers(stage, plan.layers, held.graph, is_asked=found.is_asked))
        left = outside(plan, pairs)
        notes = [*held.hidden, *([f"not compared, outside of the plan's profiles: {', '.join(left)}"] if left else [])]
        if not found.is_known:
            notes.append("neither --precision nor the inspector tells what it was built in: it is held to float32")
        verdict = Verdict(tuple(stages), self.judging.allow_float32_truth, held.source)
        library = "" if self.plugin is None else self.plugin.sha256
        return CheckedPlan(
            self.path, self.header, plan.sha256, model, found.name, found.layers, verdict, tuple(notes), library
        )


def _library(folder: Path, header: PlanHeader) -> PluginLibrary:
    """Return the library of a folder. Raises InputError if it was built for another major version than the plan."""
    library = read_plugin(folder)
    wanted = header.flavour.api or header.version
    if (library.tensorrt.major >= 10) != (wanted.major >= 10):
        raise InputError(
            f"received --plugin {folder}, built for TensorRT {library.tensorrt}, with a plan of {header}; build it "
            "with the headers of that version"
        )
    return library


def _for(pairs: Pairs, io: str) -> Iterator[Any]:
    """Yield the cases for a plan with float inputs of this type, as float32 arrays of numbers that the type holds."""
    return ((replace(case, io=""), reference) for case, reference in pairs() if case.is_for(io))
