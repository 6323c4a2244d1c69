"""Everything that a caller of ``deploy`` asks for beside the target, checked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ..core.graph import OPSETS
from ..engines.tensorrt.flavours import RTX
from ..engines.tensorrt.targets import parse_targets
from ..errors import InputError
from .options import Judging, PrecisionRequest, Weights
from .place import Place


@dataclass(frozen=True)
class Order:
    """Everything that was asked for beside the target, checked.

    Attributes:
        opset: The opset of the graphs.
        precision: The precisions.
        weights: The source of the weights.
        judging: The way in which the verdict is reached.
        build_for: The compute capabilities that TensorRT for RTX builds for.
    """

    opset: int
    precision: PrecisionRequest
    weights: Weights
    judging: Judging
    build_for: tuple[str, ...]

    @classmethod
    def of(
        cls,
        opset: int,
        precision: str | Sequence[str] | PrecisionRequest,
        weights: Weights,
        judging: Judging,
        capabilities: str,
    ) -> Order:
        """Return the order for arguments of ``deploy``; raises InputError for a wrong one."""
        if opset not in OPSETS:
            raise InputError(f"opset {opset} is not supported; expected {OPSETS.start} to {OPSETS.stop - 1}")
        return cls(opset, PrecisionRequest.of(precision), weights, judging, parse_targets(capabilities, RTX))

    def seen_from(self, place: Place) -> Order:
        """Return the order with absolute paths, which the user's code cannot lead elsewhere."""
        return replace(
            self,
            precision=replace(self.precision, calibrate=place.absolute(self.precision.calibrate)),
            judging=replace(self.judging, inputs=place.absolute(self.judging.inputs)),
        )

    @property
    def photographs(self) -> Path | None:
        """The folder of photographs to judge on as well."""
        return None if self.judging.inputs is None else Path(self.judging.inputs)

    def options(self, *, is_default_batch: bool) -> list[Any]:
        """Return everything that a bundle depends on beside its target and the files that are read, as plain data."""
        judging = self.judging
        judged = [judging.verdict, judging.max_error, self.weights.seed, judging.allow_float32_truth]
        return [self.opset, *judged, *self.precision.key, is_default_batch, [*self.build_for]]

    @property
    def read(self) -> list[Path | None]:
        """The files and folders whose content a bundle depends on."""
        calibrate = self.precision.calibrate
        return [self.photographs, None if calibrate is None else Path(calibrate)]
