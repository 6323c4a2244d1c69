"""Everything that a caller of ``deploy`` asks for beside the target, checked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ..core.graph import require_opset
from ..core.preprocessing import Preprocessing
from ..core.tensor_spec import Axis, TensorSpec, optima
from ..engines.tensorrt.flavours import RTX
from ..engines.tensorrt.targets import parse_targets
from ..modules.target import Target
from ..validate.images import image_input
from .options import Judging, PrecisionRequest, Weights
from .place import Place


@dataclass(frozen=True)
class DeployRequest:
    """Everything that was asked for beside the target, checked.

    Attributes:
        opset: The opset of the graphs.
        precision: The precisions.
        weights: The source of the weights.
        judging: The way in which the verdict is reached.
        build_for: The compute capabilities that TensorRT for RTX builds for.
        preprocessing: The way from a photograph to the input, in place of the target's own; None keeps that.
    """

    opset: int
    precision: PrecisionRequest
    weights: Weights
    judging: Judging
    build_for: tuple[str, ...]
    preprocessing: Preprocessing | None = None

    @classmethod
    def of(
        cls,
        opset: int,
        precision: str | Sequence[str] | PrecisionRequest,
        weights: Weights,
        judging: Judging,
        capabilities: str,
        preprocessing: Preprocessing | None = None,
    ) -> DeployRequest:
        """Return the request for arguments of ``deploy``; raises InputError for a wrong one."""
        require_opset(opset)
        build_for = parse_targets(capabilities, RTX)
        return cls(opset, PrecisionRequest.of(precision), weights, judging, build_for, preprocessing)

    def seen_from(self, place: Place) -> DeployRequest:
        """Return the request with absolute paths, which the user's code cannot lead elsewhere."""
        return replace(
            self,
            precision=replace(self.precision, calibrate=place.absolute(self.precision.calibrate)),
            judging=replace(self.judging, inputs=place.absolute(self.judging.inputs)),
        )

    def described(self, target: Target) -> Target:
        """Return the target with the preprocessing that was asked for, if one was.

        Raises InputError if that is for another size than the one that is traced.
        """
        how = self.preprocessing
        if how is None:
            return target
        self.require_size(target.inputs, target.axes)
        fallbacks = tuple(replace(fallback, preprocessing=how) for fallback in target.fallbacks)
        return replace(target, preprocessing=how, fallbacks=fallbacks)

    def require_size(self, inputs: Sequence[TensorSpec], axes: Mapping[str, Axis]) -> None:
        """Raise InputError for a preprocessing into another size than the traced one, at which photographs go in."""
        taker = image_input(inputs)
        if self.preprocessing is not None and taker is not None:
            traced = {name: Axis(opt, opt, opt) for name, opt in optima(axes).items()}
            self.preprocessing.check_size(taker, traced)

    def options(self, *, is_default_batch: bool) -> list[Any]:
        """Return everything that a bundle depends on beside its target and the files that are read, as plain data."""
        judging = self.judging
        judged = [judging.verdict, judging.max_error, self.weights.seed, judging.allow_float32_truth]
        how = [] if self.preprocessing is None else [self.preprocessing.to_json()]
        return [self.opset, *judged, *self.precision.key, is_default_batch, [*self.build_for], *how]

    @property
    def read(self) -> list[Path | None]:
        """The files and folders whose content a bundle depends on."""
        calibrate = self.precision.calibrate
        return [self.judging.photographs, None if calibrate is None else Path(calibrate)]
