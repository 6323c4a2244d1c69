"""Graphs below float32: what is asked for, the ranges that integers need, and the floors that the verdict needs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from ..core.formats import FORMATS
from ..core.graph import OnnxGraph
from ..core.precision import FP32, INT8, TF32, parse_precisions
from ..engines.calibration import METHODS, MINMAX, find_ranges
from ..errors import InputError
from ..export.handover import trtexec_lines
from ..export.precision import LowGraph, lower
from ..export.quantized import QuantizedGraph, quantize
from ..export.tf32 import Tf32Graph, allow_tf32
from ..modules.target import Target
from ..validate.calibration_inputs import CalibrationInputs, calibration_inputs
from ..validate.cases import Case

if TYPE_CHECKING:
    from torch import nn

    from ..validate.eager import Lower
    from ..validate.verdict import Verdict

AUTO = "auto"
# What ``auto`` tries, from the fewest bits up; bfloat16 after float16, for its range: it has fewer digits. fp8, which
# only the newest GPUs have, is left to those who ask for it.
TRIED = (INT8, "fp16", "bf16", TF32)


@dataclass(frozen=True)
class Lowering:
    """The precisions below float32 that are asked for, the modules to leave out, and how int8 finds its ranges.

    Where ``chooses`` is set, one of the ``precisions`` is to be chosen, or none.
    """

    precisions: tuple[str, ...] = ()
    keep_fp32: tuple[str, ...] = ()
    calibrate: Path | None = None
    method: str = MINMAX
    chooses: bool = False

    @classmethod
    def of(
        cls,
        precision: str | Sequence[str],
        keep_fp32: Sequence[str] = (),
        calibrate: Path | None = None,
        method: str | None = None,
    ) -> Lowering:
        """Read the arguments; raises InputError for an unknown precision or method, and for options that go
        with a precision that is not there."""
        named = [name.strip() for name in (precision.split(",") if isinstance(precision, str) else precision)]
        chooses = AUTO in named
        if chooses and not {*named} <= {AUTO, FP32}:
            raise InputError(
                f"received precision {','.join(named)}; expected {AUTO} alone, which chooses one; leave the others out"
            )
        found = TRIED if chooses else parse_precisions(named)
        if keep_fp32 and {*found} <= {TF32}:
            raise InputError(
                f"received --keep-fp32 {keep_fp32[0]!r} with {'tf32' if found else 'float32'} alone; expected a lower "
                "precision to keep it out of; add --precision fp32,fp16"
            )
        for option, value, precisions in (("--calibrate", calibrate, (*FORMATS,)), ("--calibration", method, (INT8,))):
            if value is not None and not {*precisions} & {*found}:
                raise InputError(
                    f"received {option} {value} without {' or '.join(precisions)}; expected a precision whose ranges "
                    "it is for; add --precision fp32,int8"
                )
        if method is not None and method not in METHODS:
            raise InputError(f"received --calibration {method!r}; expected {', '.join(METHODS)}")
        return cls(found, tuple(keep_fp32), calibrate, method or MINMAX, chooses)

    @property
    def options(self) -> list[Any]:
        """The options that a bundle depends on; none if float32 is alone."""
        if not self.precisions:
            return []
        method = [self.method] if INT8 in self.precisions else []
        return [[*self.precisions], [*self.keep_fp32], *method, *([AUTO] if self.chooses else [])]


@dataclass(frozen=True)
class LowWriter:
    """Writes a model's graphs below float32 into ``folder``; what int8 is calibrated on is run once.

    ``cases`` are what it is calibrated on where nothing else is given, and ``module`` is what the graph was made of.
    """

    lowering: Lowering
    graph: OnnxGraph
    target: Target
    cases: Sequence[Case]
    folder: Path
    module: nn.Module
    seed: int
    start: Callable[[str, str], None]
    _ranges: dict[tuple[str, str], float] = field(default_factory=dict)

    def write(self, precision: str, keep: Sequence[str] = ()) -> LowGraph:
        """The graph of this precision; what a glob in ``keep`` matches stays in float32, beside what the user keeps.

        Raises what ``export.precision.lower`` and ``export.quantized.quantize`` raise.
        """
        keep = (*self.lowering.keep_fp32, *keep)
        if precision == TF32:
            return allow_tf32(self.graph)
        if precision not in FORMATS:
            self.start("precision", f"writing {precision} into the graph")
            return lower(self.graph, precision, self.folder, keep=keep)
        self.start("calibration", f"finding the ranges of {precision}")
        # the exponents of fp8 hold outliers: its ranges are the largest magnitudes
        method = self.lowering.method if precision == INT8 else MINMAX
        inputs = calibration_inputs(self.lowering.calibrate, self.target, self.cases, seed=self.seed)
        parameters = {name: value.detach().cpu().numpy() for name, value in self.module.named_parameters()}
        said = f"{inputs.said}, by {method}"

        def ranges(tensors: Sequence[str]) -> Mapping[str, float]:
            return self._find(tensors, inputs, method)

        form = FORMATS[precision]
        return quantize(self.graph, ranges, self.folder, parameters=parameters, said=said, form=form, keep=keep)

    def _find(self, tensors: Sequence[str], inputs: CalibrationInputs, method: str) -> Mapping[str, float]:
        missing = [name for name in tensors if (method, name) not in self._ranges]
        if missing:
            found = find_ranges(self.graph.path, missing, inputs.make, method=method)
            self._ranges.update({(method, name): largest for name, largest in found.items()})
        return {name: self._ranges[method, name] for name in tensors}


class Candidates(Protocol):
    """Sets of graphs, by precision, to be judged one after the other; ``judged`` is told the verdict on the last, and
    the first whose verdict settles it ends the iteration. ``account`` is what the manifest says of the choice."""

    def __iter__(self) -> Iterator[dict[str, LowGraph]]: ...

    def judged(self, verdict: Verdict) -> None: ...

    @property
    def account(self) -> dict[str, Any]: ...


@dataclass(frozen=True)
class Named:
    """The precisions that were named: one set, whatever its verdict."""

    writer: LowWriter

    def __iter__(self) -> Iterator[dict[str, LowGraph]]:
        yield {precision: self.writer.write(precision) for precision in self.writer.lowering.precisions}

    def judged(self, _verdict: Verdict) -> None:
        """There is no other."""

    @property
    def account(self) -> dict[str, Any]:
        """Nothing was chosen."""
        return {}


def floor_of(low: LowGraph) -> Lower:
    """Return what the reference has to measure so that this graph can be judged."""
    from ..validate.half_precision import Half
    from ..validate.quantized import EightBit
    from ..validate.tf32 import Tf32

    if isinstance(low, Tf32Graph):
        return Tf32()
    if isinstance(low, QuantizedGraph):
        return EightBit(low.steps, low.ran_by, low.precision)
    return Half(low.precision, low.kept_within, low.kept_exactly)


def files_of(lowered: Mapping[str, LowGraph]) -> dict[str, str]:
    """The files of the graphs, and what each is."""
    return {
        name: f"graph, {precision}" if number == 0 else f"weights of the graph, {precision}"
        for precision, low in lowered.items()
        for number, name in enumerate(low.files)
    }


def entries_of(lowered: Mapping[str, LowGraph], target: Target) -> dict[str, Any]:
    """Return the manifest's entry of each graph."""
    return {
        name: {**low.to_json(), "trtexec": trtexec_lines(low, target.inputs, target.axes)}
        for name, low in lowered.items()
    }
