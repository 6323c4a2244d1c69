"""What ``benchmark`` is asked to time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..core.graph import DEFAULT_OPSET
from ..core.progress import Progress
from ..errors import InputError
from .options import Weights


@dataclass(frozen=True)
class TimedRequest:
    """The arguments that say what is timed.

    Attributes:
        target: The TARGET, the ONNX file or the folder of a bundle.
        runtimes: Names of runtimes; none for all that apply.
        batches: The batches, in order; none for the one that is traced.
        shapes: Sizes of inputs.
        dynamic: Ranges of axes.
        weights: The source of the weights; of a file the seed alone, which draws its case.
        opset: That which was asked for.
        backbone: Time the plain backbone as well.
        progress: Called with a line for every step.
    """

    target: str
    runtimes: Sequence[str]
    batches: Sequence[int]
    shapes: Sequence[str]
    dynamic: str | None
    weights: Weights
    opset: int
    backbone: bool
    progress: Progress

    def require_built(self) -> None:
        """Raise InputError for an option that says how to build what a bundle has already."""
        given = {
            "--shape": bool(self.shapes),
            "--dynamic": self.dynamic is not None,
            "--seed": self.weights.seed != 0,
            "--pretrained": self.weights.pretrained,
            "--checkpoint": self.weights.checkpoint is not None,
            "--random-weights": self.weights.random,
            "--trust": self.weights.trust,
            "--opset": self.opset != DEFAULT_OPSET,
        }
        for option, is_given in given.items():
            if is_given:
                raise InputError(
                    f"received {option} with a bundle, whose graph is there already; expected it with a TARGET; "
                    f"leave {option} out"
                )
