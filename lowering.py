"""Graphs below float32: what is asked for, the ranges that integers need, and the floors that the verdict needs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .engines.calibration import METHODS, MINMAX, find_ranges
from .errors import InputError
from .export.graph import OnnxGraph
from .export.handover import trtexec_lines
from .export.int8 import Int8Graph, quantize
from .export.precision import INT8, LowGraph, lower, parse_precisions
from .modules.target import Target
from .validate.calibration_inputs import CalibrationInputs, calibration_inputs
from .validate.cases import Case

if TYPE_CHECKING:
    from torch import nn

    from .validate.eager import Lower


@dataclass(frozen=True)
class Lowering:
    """The precisions below float32 that are asked for, the modules to leave out, and how int8 finds its ranges."""

    precisions: tuple[str, ...] = ()
    keep_fp32: tuple[str, ...] = ()
    calibrate: Path | None = None
    method: str = MINMAX

    @classmethod
    def of(
        cls,
        precision: str | Sequence[str],
        keep_fp32: Sequence[str] = (),
        calibrate: Path | None = None,
        method: str | None = None,
    ) -> Lowering:
        """What the arguments ask for; raises InputError for an unknown precision or method, and for options that go
        with a precision that is not there."""
        found = parse_precisions(precision)
        if keep_fp32 and not found:
            raise InputError(
                f"received --keep-fp32 {keep_fp32[0]!r} with float32 alone; expected a lower precision to keep it out "
                "of; add --precision fp32,fp16"
            )
        for option, value in (("--calibrate", calibrate), ("--calibration", method)):
            if value is not None and INT8 not in found:
                raise InputError(
                    f"received {option} {value} without int8; expected a precision whose ranges it is for; add "
                    "--precision fp32,int8"
                )
        if method is not None and method not in METHODS:
            raise InputError(f"received --calibration {method!r}; expected {', '.join(METHODS)}")
        return cls(found, tuple(keep_fp32), calibrate, method or MINMAX)

    @property
    def options(self) -> list[Any]:
        """What a bundle depends on; nothing where float32 is alone."""
        if not self.precisions:
            return []
        return [[*self.precisions], [*self.keep_fp32], *([self.method] if INT8 in self.precisions else [])]

    def write(
        self,
        graph: OnnxGraph,
        target: Target,
        cases: Sequence[Case],
        folder: Path,
        *,
        module: nn.Module,
        seed: int,
        start: Callable[[str, str], None],
    ) -> dict[str, LowGraph]:
        """Every graph by its precision, in ``folder``; ``cases`` are what int8 is calibrated on where nothing else is
        given, and ``module`` is what the graph was made of.

        Raises what ``export.precision.lower`` and ``export.int8.quantize`` raise.
        """
        written: dict[str, LowGraph] = {}
        for precision in self.precisions:
            if precision == INT8:
                start("calibration", "finding the ranges of int8")
                inputs = calibration_inputs(self.calibrate, target, cases, seed=seed)
                written[precision] = self._quantized(graph, inputs, folder, module)
            else:
                start("precision", f"writing {precision} into the graph")
                written[precision] = lower(graph, precision, folder, keep=self.keep_fp32)
        return written

    def _quantized(self, graph: OnnxGraph, inputs: CalibrationInputs, folder: Path, module: nn.Module) -> Int8Graph:
        def ranges(tensors: Sequence[str]) -> Mapping[str, float]:
            return find_ranges(graph.path, tensors, inputs.make, method=self.method) if tensors else {}

        parameters = {name: value.detach().cpu().numpy() for name, value in module.named_parameters()}
        said = f"{inputs.said}, by {self.method}"
        return quantize(graph, ranges, folder, parameters=parameters, said=said, keep=self.keep_fp32)


def floors_of(lowered: Iterable[LowGraph]) -> list[Lower]:
    """What the reference has to measure so that these graphs can be judged."""
    from .validate.half_precision import Half
    from .validate.int8 import Int8

    return [
        Int8(low.steps) if isinstance(low, Int8Graph) else Half(low.precision, low.kept_within, low.kept_exactly)
        for low in lowered
    ]


def files_of(lowered: Mapping[str, LowGraph]) -> dict[str, str]:
    """The files of the graphs, and what each is."""
    return {
        name: f"graph, {precision}" if number == 0 else f"weights of the graph, {precision}"
        for precision, low in lowered.items()
        for number, name in enumerate(low.files)
    }


def entries_of(lowered: Mapping[str, LowGraph], target: Target) -> dict[str, Any]:
    """What the manifest says of each graph."""
    return {
        name: {**low.to_json(), "trtexec": trtexec_lines(low, target.inputs, target.axes)}
        for name, low in lowered.items()
    }
