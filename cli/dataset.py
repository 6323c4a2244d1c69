"""``validate --dataset``: its options, and what is printed of predictions."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..errors import CheckFailed, InputError, MissingRequirement
from .options import Command, preprocessing_option, stack
from .parameters import PATH

if TYPE_CHECKING:
    from ..validate.predictions.results import Predictions
    from ..workflows.validate_predictions import PredictionRequest

METRICS = ("top1", "topk", "detections", "argmax-map")


def _share(_context: click.Context, _option: click.Parameter, text: str | None) -> float | None:
    """Read a share: ``0.5%``, or ``0.005``."""
    if text is None:
        return None
    number = text.strip()
    try:
        share = float(number.removesuffix("%")) / (100 if number.endswith("%") else 1)
    except ValueError:
        raise click.BadParameter(f"received {text!r}; expected a share, as 0.5% or 0.005") from None
    if not 0 <= share <= 1:
        raise click.BadParameter(f"received {text!r}; expected a share from 0% to 100%; 0.5% is 0.005")
    return share


def _share_option(name: str, help_text: str) -> Callable[[Command], Command]:
    return click.option(name, metavar="SHARE", callback=_share, help=help_text)


def dataset_options(command: Command) -> Command:
    """The data set, and what a prediction and a change are."""
    return stack(
        command,
        click.option(
            "--dataset",
            type=PATH,
            metavar="FOLDER",
            help="Compare predictions on these images too, or on the arrays of a .npz or .safetensors file.",
        ),
        click.option(
            "--metric", type=click.Choice(METRICS), help="What is predicted (default: what the outputs tell)."
        ),
        _share_option(
            "--max-flips",
            "Fail if more images change their prediction, as 0.5%; without it they are only counted.",
        ),
        click.option(
            "--labels",
            metavar="PATH",
            help="True answers: lines of PATH CLASS, a COCO file, a folder of masks, 'folders' (the default if there "
            "is one for each class) or 'none'.",
        ),
        click.option(
            "--reference",
            type=click.Choice(["onnxruntime", "pytorch"]),
            help="What is compared with: the float32 graph (the default), or PyTorch's module.",
        ),
        preprocessing_option,
        click.option("--k", type=click.IntRange(min=1), metavar="N", help="Classes of topk (default: 5)."),
        _share_option("--score", "Lowest score of a box (default: 0.25)."),
        _share_option("--iou", "Least overlap of boxes that match (default: 0.5)."),
        _share_option("--suppression", "Overlap above which a box gives way (default: 0.5)."),
        _share_option("--pixels", "Pixels of a map that may differ (default: 0.1%)."),
        click.option(
            "--activation",
            type=click.Choice(["softmax", "sigmoid"]),
            help="How logits of queries become scores (default: by the model's name).",
        ),
    )


@dataclass(frozen=True)
class DatasetOptions:
    """The values of ``dataset_options``; None for what was not given.

    Raises:
        InputError: One was given without --dataset.
    """

    values: Mapping[str, Any]

    def __post_init__(self) -> None:
        given = [name for name, value in self.values.items() if value is not None]
        if given and self.values["dataset"] is None:
            option = f"--{given[0].replace('_', '-')}"
            raise InputError(f"received {option} without --dataset; expected the images as well; add --dataset FOLDER")

    def require_no_server(self, server: str | None) -> None:
        """Raise InputError for a data set with a server, which is judged on the recorded cases alone."""
        if server is not None and self.values["dataset"] is not None:
            raise InputError(
                "received --dataset with --server; expected one of them: a server is judged on the recorded cases; "
                "leave one out"
            )

    def order(self, bundle: Path) -> PredictionRequest | None:
        """Return the comparison that is asked for, checked; None without a data set. Raises InputError."""
        if self.values["dataset"] is None:
            return None
        from ..validate.predictions.choose import Thresholds
        from ..workflows.validate_predictions import PredictionRequest

        names = ("k", "score", "iou", "suppression", "pixels", "activation")
        given = {name: value for name, value in self.values.items() if value is not None}
        thresholds = Thresholds(**{name: given.pop(name) for name in names if name in given})
        dataset = given.pop("dataset")
        return PredictionRequest.of(bundle, dataset, thresholds=thresholds, **given)


def predictions_code(predictions: Predictions | None) -> int:
    """Return the exit code of the predictions alone: 0 without a limit, if they could be compared."""
    if predictions is None or predictions.passed is not False:
        return 0
    if predictions.error is not None:
        return predictions.error.exit_code
    return CheckFailed.exit_code if predictions.has_failed else MissingRequirement.exit_code


def worse_code(*codes: int) -> int:
    """Return the exit code of a command with several verdicts: a failure comes before what could not be checked."""
    return CheckFailed.exit_code if CheckFailed.exit_code in codes else max(codes)
