"""A metric: what a model predicts for an image, when that has changed, and how it is scored by labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from ...core.preprocessing import Placement
from ..arrays import Array

Arrays = Mapping[str, Array]


@dataclass(frozen=True)
class Change:
    """An image whose prediction changed.

    Attributes:
        image: Its path in the data set, or its number.
        margin: The reference's distance from another prediction, in the metric's unit.
        reference: The prediction of the reference, in words.
        found: That of the runtime.
        is_tie: True if float32's own rounding can decide the reference's prediction.
    """

    image: str
    margin: float
    reference: str
    found: str
    is_tie: bool = False

    def to_json(self) -> dict[str, Any]:
        """Return every field by name, as plain data."""
        margin = self.margin if np.isfinite(self.margin) else None
        return {
            "image": self.image,
            "margin": margin,
            "reference": self.reference,
            "found": self.found,
            "tie": self.is_tie,
        }


@dataclass(frozen=True)
class Difference:
    """The difference between two predictions of one image; the fields are those of ``Change``."""

    margin: float
    reference: str
    found: str
    is_tie: bool = False


class Scores(Protocol):
    """The worth of a runtime's predictions by the labels, added up image by image."""

    def add(self, prediction: Any, label: Any, placement: Placement | None) -> None: ...
    def result(self) -> dict[str, float]:
        """Return the metrics by name, each from 0 to 1."""
        ...


class Metric(Protocol):
    """The way in which predictions are read and compared.

    Attributes:
        name: As ``--metric`` has it.
        words: What is read from which output, and what counts as a change.
        unit: Of the margin.
        outputs: The names of the outputs that are read.
    """

    @property
    def name(self) -> str: ...
    @property
    def words(self) -> str: ...
    @property
    def unit(self) -> str: ...
    @property
    def outputs(self) -> tuple[str, ...]: ...

    def read(self, outputs: Arrays, row: int, noise: float) -> Any:
        """Return the prediction for one row of a batch.

        ``noise`` is the relative difference that float32's own rounding can make between two scores.
        """
        ...

    def difference(self, reference: Any, found: Any) -> Difference | None:
        """Compare two predictions; None if the image's prediction has not changed."""
        ...

    def alike(self, prediction: Any) -> str:
        """Return in words what all images of a data set may have in common; "" if a prediction tells more."""
        ...

    def scores(self) -> Scores: ...


def is_finite(outputs: Arrays, names: Sequence[str], row: int) -> bool:
    """Tell whether a row of these outputs holds numbers alone."""
    return all(bool(np.isfinite(outputs[name][row]).all()) for name in names)
