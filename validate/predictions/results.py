"""The results of a comparison of predictions: the images that changed by runtime, and the verdict on them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from ...errors import Attn2trtError, CheckFailed
from ..stages.stage import Stage
from .interval import CONFIDENCE, wilson
from .metric import Change

NOT_FINITE = "NaN or infinity"
Outcome = Literal["passed", "failed", "compared", "not compared"]


@dataclass(frozen=True)
class RuntimePredictions:
    """The predictions of one runtime beside the reference's.

    Attributes:
        stage: The runtime and its precision.
        images: The number of images that were compared.
        changes: Those whose prediction changed, in the order of the data set.
        scores: Its metrics by the labels.
        why: Why it was not compared, or not to the end.
        has_failed: True if it stopped though it should run.
    """

    stage: Stage
    images: int
    changes: tuple[Change, ...] = ()
    scores: Mapping[str, float] = field(default_factory=dict)
    why: str = ""
    has_failed: bool = False

    @property
    def share(self) -> float:
        """The share of images whose prediction changed."""
        return len(self.changes) / self.images if self.images else 0.0

    @property
    def interval(self) -> tuple[float, float]:
        """Wilson's interval of the share."""
        return wilson(len(self.changes), self.images)

    @property
    def ties(self) -> int:
        """The number of changes that float32's own rounding can make."""
        return sum(change.is_tie for change in self.changes)

    def outcome(self, max_flips: float | None) -> Outcome:
        """Return the verdict on it; without a limit only if it was compared."""
        if self.why:
            return "failed" if self.has_failed else "not compared"
        if max_flips is None:
            return "compared"
        return "passed" if self.share <= max_flips else "failed"


@dataclass(frozen=True)
class Predictions:
    """Every runtime's predictions beside the reference's on a data set.

    True if a limit was given, at least one runtime was compared, and each that ran kept it. Without a limit there is
    no verdict: ``is_judged`` is False, and it is not true.

    Attributes:
        dataset: What the images are.
        metric: What is predicted and what counts as a change.
        unit: Of the margins.
        reference: The runtime that the others are compared with, and what ties it to PyTorch.
        images: The number of images that were compared.
        runtimes: The runtimes.
        scores: The reference's metrics by the labels.
        labels: The source of the labels; "" without any.
        labelled: The number of images with a label.
        refused: The images that could not be used, and why.
        not_finite: The images for which the reference itself is no number.
        max_flips: The largest share of changed images that passes; None for no verdict.
        notes: What people should know.
        error: What kept all of it from being compared; then there are no runtimes.
    """

    dataset: str
    metric: str
    unit: str
    reference: str
    images: int
    runtimes: tuple[RuntimePredictions, ...]
    scores: Mapping[str, float] = field(default_factory=dict)
    labels: str = ""
    labelled: int = 0
    refused: tuple[tuple[str, str], ...] = ()
    not_finite: tuple[str, ...] = ()
    max_flips: float | None = None
    notes: tuple[str, ...] = ()
    error: Attn2trtError | None = None

    def __bool__(self) -> bool:
        outcomes = self.outcomes
        return self.is_judged and "failed" not in outcomes and "passed" in outcomes and not self.objection

    @property
    def is_judged(self) -> bool:
        """True if a limit was given."""
        return self.max_flips is not None

    @property
    def passed(self) -> bool | None:
        """The verdict: None without a limit, but False if nothing could be compared."""
        return bool(self) if self.is_judged or self.error is not None else None

    @property
    def outcomes(self) -> list[Outcome]:
        """The outcome of each runtime."""
        return [found.outcome(self.max_flips) for found in self.runtimes]

    @property
    def has_failed(self) -> bool:
        """True if a limit was given and not kept, if the images make that impossible, or if the reference fails."""
        return isinstance(self.error, CheckFailed) or (
            self.is_judged and ("failed" in self.outcomes or bool(self.objection))
        )

    @property
    def objection(self) -> str:
        """The reason why no runtime can keep the limit: the reference is not finite, or too few images could be used.

        An unusable image counts as changed. "" without a limit or a reason.
        """
        if self.max_flips is None:
            return ""
        if self.not_finite:
            count = len(self.not_finite)
            return f"the reference is NaN or infinity on {count} images, as {self.not_finite[0]}"
        changed = [len(found.changes) for found in self.runtimes if not found.why]
        unread, images = len(self.refused), self.images + len(self.refused)
        if unread and changed and max(changed) + unread > self.max_flips * images:
            return f"{unread} of {images} images could not be used, and count as changed"
        return ""

    def to_json(self, *, most: int | None = None) -> dict[str, Any]:
        """Plain data, with at most so many changed images of each runtime."""
        return {
            "dataset": self.dataset,
            "metric": self.metric,
            "unit": self.unit,
            "reference": self.reference,
            "images": self.images,
            "labels": self.labels,
            "labelled": self.labelled,
            "scores": dict(self.scores),
            "max_flips": self.max_flips,
            "passed": self.passed,
            "why": "" if self.error is None else str(self.error),
            "confidence": CONFIDENCE,
            "refused": [{"image": name, "why": why} for name, why in self.refused[:most]],
            "refused_count": len(self.refused),
            "not_finite": [*self.not_finite[:most]],
            "not_finite_count": len(self.not_finite),
            "notes": [*self.notes],
            "runtimes": [
                {
                    **found.stage.to_json(),
                    "outcome": found.outcome(self.max_flips),
                    "why": found.why,
                    "images": found.images,
                    "changed": len(found.changes),
                    "ties": found.ties,
                    "share": found.share,
                    "interval": [*found.interval],
                    "scores": dict(found.scores),
                    "changes": [change.to_json() for change in found.changes[:most]],
                }
                for found in self.runtimes
            ],
        }
