"""The judge of an ONNX file's graphs, beside its own float64 or PyTorch's: one for ``check`` and ``deploy``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from ..core.graph import ModelGraph, OnnxGraph
from ..core.graph_io import FLOAT32
from ..core.precision import CAST, FP32, PRECISIONS, QUANTISED, on_levels_of
from ..core.preprocessing import Preprocessing
from ..core.progress import StageTimes
from ..core.tensor_spec import Axis, TensorSpec, optima
from ..errors import Attn2trtError, InputError, MissingRequirement, ModuleRefused
from ..export.onnx_file import OnnxFile
from ..export.precision import LowPrecisionGraph
from ..modules.packages import require
from ..validate.activation_ends import activation_ends
from ..validate.cases import Case, make_cases
from ..validate.far_numbers import foreign_numbers
from ..validate.foreign_weights import foreign_weights
from ..validate.onnx_reference.isolated import IsolatedEvaluator
from ..validate.onnx_reference.levels import ends_without_levels
from ..validate.stages.build import BuildStages
from ..validate.stages.graphs import GraphStages
from ..validate.stages.stage import ORT_PLAIN, lower_stages
from ..validate.stored_levels import StoredLevels
from ..validate.stored_weights import stored_weights
from ..validate.verdict import StageResult, not_checked, refused
from .judgement import GraphJudge, Judgement
from .module_inputs import inputs_in_order, outputs_in_order, require_inputs
from .options import Judging, PrecisionRequest, Weights
from .precision import PrecisionWriter
from .sensitivity import advised
from .truths import GraphTruth, Lowered, ModuleTruth, Truth

if TYPE_CHECKING:
    from torch import nn


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

    def cases(self) -> list[Case]:
        """Return the inputs that are judged."""
        is_lowered = any(not self.why_not_lowered(name) for name in self.lower)
        return self._cases(self.request.fed_in if is_lowered else FLOAT32)

    def _cases(self, io: str) -> list[Case]:
        graph = self.model.graph
        cases = make_cases(
            graph.inputs if self.module is None else inputs_in_order(self.module, graph.inputs),
            graph.axes,
            seed=self.weights.seed,
            images=self.judging.photographs,
            preprocessing=self.model.preprocessing,
            io=io,
        )
        return cases if self.module is None else [replace(case, narrow=_narrow(graph)) for case in cases]

    @property
    def lower(self) -> tuple[str, ...]:
        """The precisions of the graphs to write: those that were asked for, but for the file's own."""
        return tuple(name for name in self.request.lower if name != self.model.file.precision)

    def why_not_lowered(self, precision: str) -> str:
        """Return the reason why no graph of this precision is made of the file; "" if it can be tried."""
        own = self.model.file.precision
        if own != FP32 and precision not in on_levels_of(own):
            able = f"but {' or '.join(on_levels_of(own))} " if on_levels_of(own) else ""
            return f"the file computes in {PRECISIONS[own].words} itself: nothing {able}is made of it; leave it out"
        if self.module is not None and self.request.keep_fp32:
            return (
                "--keep-fp32 names nodes of the file, and --against takes the rounding of a module without nodes; "
                "leave one of them out"
            )
        return ""

    def write(self, precision: str, cases: Sequence[Case]) -> LowPrecisionGraph:
        """Write the graph of a precision. Raises InputError for one that this file cannot have."""
        if why := self.why_not_lowered(precision):
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
        """Return the graphs below float32, and a stage for each that is not made of this file."""
        lowered: dict[str, LowPrecisionGraph] = {}
        unmade = []
        for precision in self.lower:
            stage = lower_stages(precision)[0]
            try:
                if why := self.why_not_lowered(precision):
                    unmade.append(not_checked(stage, why))
                else:
                    lowered[precision] = self.write(precision, cases)
            except ModuleRefused as error:
                unmade.append(refused(stage, str(error)))
            except Attn2trtError as error:
                unmade.append(not_checked(stage, f"no {precision} graph was made of the file: {error}"))
        return lowered, unmade

    def judge(self, cases: Sequence[Case], lowered: Lowered, builds: BuildStages | None = None) -> Judgement:
        """Judge every graph on the cases while their truth is computed and recorded."""
        with GraphStages(self.judging.max_error, answer_seconds=self.seconds) as stages, ExitStack() as stack:
            truth = self._truth(stack)
            judge = GraphJudge(
                self.model, truth, cases, self.folder, self.judging, stages, self.times, builds, exported=ORT_PLAIN
            )
            found = judge(lowered)
        found = replace(found, verdict=advised(found.verdict, lowered, of_file=True))
        module = self.module
        if module is None:
            return found

        def hidden() -> list[str]:
            path, seed = self.model.exported.path, self.weights.seed
            weights = [] if found.verdict else stored_weights(path)
            weights += [] if self.has_own_levels else foreign_weights(path, module)
            return [*found.hidden(), *foreign_numbers(path, module, cases[0], seed), *weights]

        return replace(found, hidden=hidden)

    def without_truth(self, judgement: Judgement, purpose: str) -> MissingRequirement:
        """Return the error of a file none of whose cases has a truth."""
        return MissingRequirement(
            f"received {self.model.file.path}, whose graph has no truth in float64 ({judgement.no_truth}); expected "
            f"one to {purpose}; name the PyTorch module that it was made of with --against"
        )

    @cached_property
    def has_own_levels(self) -> bool:
        """True if the module has the levels of a quantised file itself."""
        row = PRECISIONS[self.model.file.precision]
        if self.module is None or not row.is_integer or row.is_placed:
            return False
        from ..validate.eager import Eager

        eager, case = Eager(self.module, [], self.weights.seed, is_double=False), self._cases(FLOAT32)[0]
        eager.run(case.feeds, case)
        return bool(eager.levels)

    def _truth(self, stack: ExitStack) -> Truth:
        if self.module is None:
            return GraphTruth(self.model, self.weights.seed, self.seconds, stack)
        seed, graph = self.weights.seed, self.model.graph
        graph = replace(graph, outputs=outputs_in_order(self.module, graph.outputs, self.cases()[0], seed))
        return ModuleTruth(self.module, graph, seed, self.has_own_levels, self._stored_levels(stack))

    @property
    def notes(self) -> list[str]:
        """Return what there is to say of the floors."""
        words = PRECISIONS[self.model.file.precision].words
        return [f"one rounding in {words} is what the file's own levels lose"] if self._has_levels_alone else []

    @property
    def _has_levels_alone(self) -> bool:
        """True for a quantised file beside a module that has no levels."""
        return self.model.file.precision in QUANTISED and self.module is not None and not self.has_own_levels

    def _stored_levels(self, stack: ExitStack) -> StoredLevels | None:
        """Return the levels of a quantised file whose module has none."""
        graph = self.model.exported
        if not self._has_levels_alone:
            return None
        double, single = (
            stack.enter_context(IsolatedEvaluator(graph.path, dtype, seconds=self.seconds))
            for dtype in ("float64", "float32")
        )
        assert self.module is not None
        ends = activation_ends(self.module, self._cases(FLOAT32)[0], self.weights.seed)
        return StoredLevels(graph.precision, double, single, ends_without_levels(ends))


def build_against(
    against: str | nn.Module | None, graph: OnnxGraph, weights: Weights, file: OnnxFile
) -> nn.Module | None:
    """Return the module that a file is held against; None for none.

    Raises InputError if it takes other inputs than the file, or the file draws random numbers, and MissingRequirement
    without PyTorch.
    """
    if against is None:
        return None
    if weights.random:
        raise InputError(
            f"received Weights(random=True) with {file.path}, which has weights; expected the same in the module; "
            "leave it out, or give them by checkpoint"
        )
    if file.draws:
        raise InputError(
            f"received {file.path}, whose {', '.join(file.draws)} gives something else in every run; expected outputs "
            "that depend on the inputs alone; export the module in eval mode"
        )
    from ..modules.checks import check_module

    require()
    module = against
    if isinstance(against, str):
        from ..modules.catalog import build

        options = {name: getattr(weights, name) for name in ("seed", "pretrained", "checkpoint", "trust")}
        module = build(against, shapes=_only_shape(graph), **options)
    else:
        check_module(against)
        weights.require_of_module()
    require_inputs(module, [spec.name for spec in graph.inputs], str(file.path))  # type: ignore[arg-type]
    return module  # type: ignore[return-value]


def _narrow(graph: OnnxGraph) -> dict[str, str]:
    """Return the types below float32 of inputs and outputs, by name."""
    low = {row.dtype for row in CAST.values()}
    return {spec.name: spec.dtype for spec in (*graph.inputs, *graph.outputs) if spec.dtype in low}


def _only_shape(graph: OnnxGraph) -> list[str]:
    """Return the shape of the file's only input, from which a block of the catalogue takes its width."""
    sizes = optima(graph.axes)
    shapes = ["x".join(map(str, spec.resolve(sizes))) for spec in graph.inputs]
    return shapes if len(shapes) == 1 and shapes[0] else []
