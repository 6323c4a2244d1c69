"""Make a bundle of a target without judging its numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..core.arguments import checked
from ..core.bundle import Bundle
from ..core.graph import DEFAULT_OPSET
from ..core.precision import FP32
from ..core.preprocessing import Preprocessing
from ..core.progress import Progress
from ..engines.tensorrt.targets import NONE
from .default_device import on_cpu
from .deploy import deploy
from .options import Judging, PrecisionRequest, Weights

if TYPE_CHECKING:
    from torch import nn

    from ..modules.dynamic import Ranges
    from ..modules.target import Target


@checked
@on_cpu
def export_bundle(
    target: str | Target | nn.Module,
    example_inputs: Any = None,
    *,
    out: Path | str | None = None,
    shapes: Sequence[str] = (),
    dynamic: str | Ranges | None = None,
    layout: str | Mapping[str, str] | None = None,
    opset: int = DEFAULT_OPSET,
    precision: str | Sequence[str] | PrecisionRequest = FP32,
    weights: Weights | None = None,
    preprocessing: Preprocessing | None = None,
    force: bool = False,
    progress: Progress | None = None,
) -> Bundle:
    """Export a target to a bundle and stop there: the contract of each graph is checked, its numbers are not.

    The arguments are those of ``deploy``, without what is about the verdict and about TensorRT. ``precision`` cannot
    be ``"auto"``, which a verdict chooses.

    Returns:
        The bundle. No stage of its verdict is checked; ``validate_bundle`` judges it.

    Raises:
        InputError: An argument is wrong, or the module cannot be exported as asked (ModuleRefused).
        MissingRequirement: PyTorch or another package of the ``export`` extra is not installed.
        StorageError: Reading or writing failed.
    """
    return deploy(
        target,
        example_inputs,
        out=out,
        shapes=shapes,
        dynamic=dynamic,
        layout=layout,
        opset=opset,
        precision=precision,
        weights=weights,
        judging=Judging(verdict=False),
        capabilities=NONE,
        preprocessing=preprocessing,
        force=force,
        progress=progress,
    )
