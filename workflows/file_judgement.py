"""The judge of an ONNX file's graphs, beside its own float64 or PyTorch's: one for ``check`` and ``deploy``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import cache, cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..core.graph import ModelGraph, OnnxGraph
from ..core.graph_io import FLOAT32
from ..core.manifest import REFERENCE
from ..core.precision import CAST, FP32, PRECISIONS
from ..core.preprocessing import Preprocessing
from ..core.progress import StageTimes
from ..core.tensor_spec import Axis, TensorSpec, optima
from ..errors import Attn2trtError, InputError, MissingRequirement, one_line
from ..export.onnx_file import OnnxFile
from ..export.placed import PlacedGraph
from ..export.precision import LowPrecisionGraph
from ..export.quantized import QuantizedGraph
from ..export.tf32 import Tf32Graph
from ..validate.cases import Case, make_cases
from ..validate.hidden import Hidden
from ..validate.metrics import GRAPH, PYTORCH
from ..validate.onnx_reference.isolated import IsolatedEvaluator
from ..validate.onnx_reference.references import GraphLower, graph_references
from ..validate.onnx_reference.rounding import half_rounding, level_rounding, product_rounding
from ..validate.own_choices import OwnChoices
from ..validate.own_choices.graph_runs import GraphRuns
from ..validate.own_choices.runs import Runs
from ..validate.recorded import from_tensors
from ..validate.stages.onnx_file import FileStages, JudgedGraph
from ..validate.stages.stage import ORT_PLAIN, WRITTEN, Stage, given_stages, lower_stages
from ..validate.verdict import StageResult, Verdict, not_checked
from .judgement import record
from .options import Judging, PrecisionRequest, Weights
from .precision import PrecisionWriter, floor_of, floor_of_own, rounding_of

if TYPE_CHECKING:
    from torch import nn

    from ..validate.metrics import Reference

Lowered = Mapping[str, LowPrecisionGraph]
Truth = Iterator[tuple[Case, "Reference | Exception"]]


@dataclass(frozen=True, kw_only=True)
class FileGraph(ModelGraph):
    """The graph of an ONNX file.

    Attributes:
        file: What the file is.
        preprocessing: The way from a photograph to the input; None unless it is given, since a file does not tell it.
    """

    file: OnnxFile
    preprocessing: Preprocessing | None = None

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        """The inputs with the axes that vary."""
        return self.graph.inputs

    @property
    def axes(self) -> Mapping[str, Axis]:
        """The range of each axis."""
        return self.graph.axes

    @property
    def notes(self) -> Sequence[str]:
        """Sentences about what was changed in reading the file."""
        return self.file.notes

    @property
    def is_simplified(self) -> bool:
        """True if another graph than the file's is deployed."""
        return self.graph.path != self.exported.path


@dataclass(frozen=True)
class FileJudgement:
    """The findings about the graphs of a file.

    Attributes:
        stages: Every stage's result.
        cases: The manifest's entries of the cases that were recorded.
        cases_left_out: The names of those that take too much room.
        no_truth: The reason why a case has no truth; "" if all have.
        hidden: Sentences about what near ties decide, and about other errors that would hardly show.
    """

    stages: list[StageResult]
    cases: list[dict[str, Any]]
    cases_left_out: list[str]
    no_truth: str
    hidden: list[str]

    def without_truth(self, file: Path, purpose: str) -> MissingRequirement:
        """Return the error of a file none of whose cases has a truth."""
        return MissingRequirement(
            f"received {file}, whose graph has no truth in float64 ({self.no_truth}); expected one to {purpose}; "
            "name the PyTorch module that it was made of with --against"
        )


@dataclass(frozen=True)
class FileJudge:
    """Writes the lower precisions of a file's graph, and judges every graph.

    Attributes:
        model: The graph.
        request: The precisions.
        weights: Its seed draws the cases; the others are those of a module that ``against`` names.
        judging: The way in which the verdict is reached.
        folder: The place of the graphs and of the recorded cases.
        seconds: Time limit of every answer of a child process.
        times: Takes the seconds of each step.
        module: The PyTorch module whose float64 is the truth; None if it is the graph's own.
    """

    model: FileGraph
    request: PrecisionRequest
    weights: Weights
    judging: Judging
    folder: Path
    seconds: float
    times: StageTimes
    module: nn.Module | None = None

    @property
    def source(self) -> str:
        """Whose float64 the truth is."""
        return GRAPH if self.module is None else PYTORCH

    @cached_property
    def has_own_levels(self) -> bool:
        """True if the module has the levels of a quantised file itself."""
        if self.module is None or not (row := PRECISIONS[self.model.file.precision]).is_integer or row.is_placed:
            return False
        from ..validate.eager import Eager

        module = Eager(self.module, [], self.weights.seed, is_double=False)
        case = self.cases()[0]
        module.run(case.feeds, case)
        return bool(module.levels)

    def cases(self) -> list[Case]:
        """Return the inputs that are judged."""
        graph = self.model.graph
        return make_cases(
            graph.inputs,
            graph.axes,
            seed=self.weights.seed,
            images=self.judging.photographs,
            preprocessing=self.model.preprocessing,
            io=FLOAT32 if self.model.file.precision != FP32 else self.request.fed_in,
        )

    @property
    def lower(self) -> tuple[str, ...]:
        """The precisions of the graphs to write: those that were asked for, but for the file's own."""
        return tuple(name for name in self.request.lower if name != self.model.file.precision)

    @property
    def why_not_lowered(self) -> str:
        """The reason why no graph below the file's own precision is made of it; "" if one can be tried."""
        own = self.model.file.precision
        if own != FP32:
            return f"the file computes in {PRECISIONS[own].words} itself: nothing is lowered; leave the others out"
        if self.module is not None and self.request.keep_fp32:
            return (
                "--keep-fp32 names nodes of the file, and --against takes the rounding of a module without nodes; "
                "leave one of them out"
            )
        return ""

    def write(self, precision: str, cases: Sequence[Case]) -> LowPrecisionGraph:
        """Write the graph of a precision. Raises InputError for one that this file cannot have."""
        if why := self.why_not_lowered:
            raise InputError(f"received --precision {precision} with {self.model.file.path}: {why}")
        writer = PrecisionWriter(
            self.request,
            self.model.graph,
            self.model,
            cases,
            self.folder,
            self.module,
            self.weights.seed,
            self.times.start,
        )
        return writer.write(precision)

    def lowered(self, cases: Sequence[Case]) -> tuple[dict[str, LowPrecisionGraph], list[StageResult]]:
        """Return the graphs below float32, and a stage for each that cannot be made of this file."""
        lowered: dict[str, LowPrecisionGraph] = {}
        refused = []
        for precision in self.lower:
            stage = lower_stages(precision)[0]
            try:
                if why := self.why_not_lowered:
                    refused.append(not_checked(stage, why))
                else:
                    lowered[precision] = self.write(precision, cases)
            except Attn2trtError as error:
                refused.append(not_checked(stage, f"no {precision} graph was made of the file: {error}"))
        return lowered, refused

    def judge(self, cases: Sequence[Case], lowered: Lowered) -> FileJudgement:
        """Judge every graph on the cases while their truth is computed and recorded."""
        self.times.start("reference", "computing the float64 truth and judging every stage against it")
        reasons: list[str] = []
        hidden = Hidden()
        graphs = self._graphs(lowered) if self.judging.verdict else []
        with FileStages(graphs, self.judging.max_error, self.seconds, self.module) as stages, ExitStack() as stack:
            by_itself = partial(self._by_itself, stack)
            truth, runs = (by_itself if self.module is None else self._by_module)(cases, lowered, hidden)
            own_choices = cache(partial(OwnChoices, runs, cases, self.judging.max_error))
            path = self.folder / REFERENCE
            index, left_out = record(stages.watch(_noting(truth, reasons)), path)
            results = stages.results(partial(from_tensors, path, index), own_choices)
            still = stages.still()
            hidden.compare_whole(Verdict(tuple(results)).is_whole)
        if not self.judging.verdict:
            results = [not_checked(stage, "export only; attn2trt deploy checks it") for stage in self._stages(lowered)]
        elif self.model.why_not_simplified:
            why = f"the graph is handed over as the file has it: {self.model.why_not_simplified}"
            results.insert(1, not_checked(Stage(WRITTEN, self.model.file.precision), why))
        unseen = hidden.choices() if self.module is None else hidden.findings(self.module)
        return FileJudgement(results, index, left_out, next(iter(reasons), ""), [*unseen, *still])

    def _stages(self, lowered: Lowered) -> list[Stage]:
        return [stage for graph in self._graphs(lowered) for stage in graph.stages]

    def _graphs(self, lowered: Lowered) -> list[JudgedGraph]:
        model, own, on_levels = self.model, self.model.file.precision, self.has_own_levels
        declared = model.graph.outputs
        if model.is_simplified:
            graphs = [
                JudgedGraph(model.exported.path, (Stage(ORT_PLAIN, own),), declared, on_levels=on_levels),
                JudgedGraph(
                    model.graph.path,
                    given_stages(WRITTEN, own),
                    declared,
                    made_of=model.exported.path,
                    on_levels=on_levels,
                ),
            ]
        else:
            graphs = [JudgedGraph(model.graph.path, given_stages(ORT_PLAIN, own), declared, on_levels=on_levels)]
        lower = [
            JudgedGraph(low.graph.path, lower_stages(name), low.graph.outputs, is_given=False, io=low.graph.io)
            for name, low in lowered.items()
        ]
        return [*graphs, *lower]

    def _by_itself(
        self, stack: ExitStack, cases: Sequence[Case], lowered: Lowered, hidden: Hidden
    ) -> tuple[Truth, Runs]:
        """The truth of the graph itself, as the file has it, and what gives it with other choices."""

        def evaluator(graph: OnnxGraph, dtype: str) -> IsolatedEvaluator:
            return stack.enter_context(IsolatedEvaluator(graph.path, dtype, seconds=self.seconds))

        model = self.model
        double, single = (evaluator(model.exported, dtype) for dtype in ("float64", "float32"))
        of_lowered = evaluator(model.graph, "float32") if lowered and model.is_simplified else None
        lower = [] if model.file.precision == FP32 else [GraphLower(model.file.precision)]
        lower += [GraphLower(name, self._rounding(low)) for name, low in lowered.items()]
        how: dict[str, Any] = {"seed": self.weights.seed, "lower": lower, "lowered": of_lowered, "hidden": hidden}
        runs = GraphRuns(double, single, self.weights.seed, lower, of_lowered)
        return graph_references(double, single, cases, **how), runs

    def _rounding(self, low: LowPrecisionGraph) -> Any:
        row = PRECISIONS[low.precision]
        if isinstance(low, PlacedGraph):
            return replace(rounding_of(low), outputs="" if low.graph.io == FLOAT32 else low.graph.io)
        if isinstance(low, QuantizedGraph):
            return level_rounding(self.model.graph.path, low.lowered, low.ranges, row)
        if isinstance(low, Tf32Graph):
            return product_rounding(low.lowered)
        return half_rounding(low.lowered, row, io=low.graph.io)

    def _by_module(self, cases: Sequence[Case], lowered: Lowered, hidden: Hidden) -> tuple[Truth, Runs]:
        """The truth of a PyTorch module, and what gives it with other choices."""
        from ..validate.half_precision import Half
        from ..validate.own_choices.module_runs import ModuleRuns
        from ..validate.reference import references

        assert self.module is not None
        own = self.model.file.precision
        lower = [floor_of(low) for low in lowered.values()]
        lower += [Half(own)] if own in CAST else []
        lower += [floor_of_own(own)] if self.has_own_levels else []
        names = [spec.name for spec in self.model.graph.outputs]
        found = references(self.module, cases, names, seed=self.weights.seed, hidden=hidden, lower=lower)
        return zip(cases, found, strict=True), ModuleRuns(self.module, names, self.weights.seed, lower)


def build_against(against: str | nn.Module | None, graph: OnnxGraph, weights: Weights, file: Path) -> nn.Module | None:
    """Return the module that a file is held against; None for none.

    Raises InputError if it takes other inputs than the file, and MissingRequirement without PyTorch.
    """
    if against is None:
        return None
    from ..modules.checks import check_module
    from ..modules.packages import require
    from .module_inputs import require_inputs

    require()
    module = against
    if isinstance(against, str):
        from ..modules.catalog import build

        options = {name: getattr(weights, name) for name in ("seed", "pretrained", "checkpoint", "trust")}
        module = build(against, shapes=_only_shape(graph), **options)
    else:
        check_module(against)
        weights.require_of_module()
    require_inputs(module, [spec.name for spec in graph.inputs], str(file))  # type: ignore[arg-type]
    return module  # type: ignore[return-value]


def _only_shape(graph: OnnxGraph) -> list[str]:
    """Return the shape of the file's only input, from which a block of the catalogue takes its width."""
    sizes = optima(graph.axes)
    shapes = ["x".join(map(str, spec.resolve(sizes))) for spec in graph.inputs]
    return shapes if len(shapes) == 1 and shapes[0] else []


def _noting(truth: Truth, reasons: list[str]) -> Truth:
    """Pass on every pair, and note why a case has no truth."""
    for case, reference in truth:
        if isinstance(reference, Exception):
            reasons.append(one_line(reference, None))
        yield case, reference
