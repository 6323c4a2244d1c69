"""Compare the predictions of runtimes with those of a reference, batch by batch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ...core.graph_io import FLOAT32
from ...errors import CheckFailed, InputError, MissingRequirement
from ..arrays import Array
from ..cases import Feeds
from ..stages.judge import Runtime
from ..stages.stage import Stage
from .detections import NO_BOX
from .labels import Labels
from .metric import Change, Metric, Scores, is_finite
from .results import NOT_FINITE, RuntimePredictions
from .samples import Batch, Samples

Run = Callable[[Any], Mapping[str, Array]]


@dataclass
class Compared:
    """A runtime whose predictions are compared.

    Args:
        stage: The runtime and its precision.
        runtime: Loads when it is first run; None if ``why_not`` says why it cannot.
        why_not: The reason if it is not compared.
        is_here: The runtime was found to work, so that a graph that it does not load has failed.
        outputs: Those that it must give.
        io: The type of its float inputs; images are rounded to it, as they are in use.
    """

    stage: Stage
    runtime: Runtime | None
    why_not: str = ""
    is_here: bool = False
    outputs: Sequence[str] = ()
    io: str = FLOAT32
    changes: list[Change] = field(default_factory=list)
    images: int = 0
    scores: Scores | None = None
    has_failed: bool = False

    @property
    def runs(self) -> bool:
        """True as long as it can be compared."""
        return self.runtime is not None and not self.why_not

    def start(self) -> None:
        """Wait for the runtime; it is not compared if it does not load."""
        if self.runtime is None:
            return
        try:
            self.runtime.load()
        except MissingRequirement as error:
            self.why_not, self.has_failed = str(error), self.is_here
        except CheckFailed as error:
            self.why_not, self.has_failed = str(error), not _lacks_kernels(str(error))

    def run(self, feeds: Feeds) -> Mapping[str, Array] | None:
        """Return the outputs; None, for good, if it does not answer."""
        assert self.runtime is not None
        try:
            outputs = self.runtime.run(rounded_to(feeds, self.io))
            require_outputs(outputs, self.outputs)
            return outputs
        except (CheckFailed, InputError) as error:
            self.why_not, self.has_failed = f"after {self.images} images: {error}", True
            return None

    def result(self, in_all: str = "") -> RuntimePredictions:
        """Return what was found; ``in_all`` is what the reference predicts for every image, if that is the same."""
        scores = {} if self.scores is None or not self.images else self.scores.result()
        why = self.why_not
        if in_all == NO_BOX and not self.changes:
            why = why or "the reference finds no box in any image: nothing could change; give a lower --score"
        return RuntimePredictions(
            self.stage, self.images, tuple(self.changes), scores, why=why, has_failed=self.has_failed
        )


def rounded_to(feeds: Feeds, io: str) -> Feeds:
    """Return inputs of a float32 graph as one of that ``io`` takes them."""
    return {name: value.astype(io) if value.dtype == FLOAT32 else value for name, value in feeds.items()}


def require_outputs(outputs: Mapping[str, Array], names: Sequence[str]) -> None:
    """Raise CheckFailed for the first output that is missing."""
    for name in names:
        if name not in outputs:
            raise CheckFailed(f"no output {name}; received {', '.join(outputs) or 'none'}")


def _lacks_kernels(message: str) -> bool:
    """Return True if a provider lacks a kernel for a type, as for bfloat16 on the CPU: no fault of the graph."""
    return "NOT_IMPLEMENTED : Could not find an implementation" in message


@dataclass
class PredictionComparison:
    """Runtimes beside a reference on a data set.

    Args:
        metric: What is compared.
        reference: Runs the reference.
        runtimes: The others; those that do not run are left as they are.
        labels: The true answers, if there are any.
        noise: The relative difference that float32's own rounding can make between two scores.
    """

    metric: Metric
    reference: Run
    runtimes: list[Compared]
    labels: Labels | None = None
    noise: float = 0.0
    refused: list[tuple[str, str]] = field(default_factory=list)
    not_finite: list[str] = field(default_factory=list)
    images: int = 0
    labelled: int = 0
    scores: Scores | None = None
    _kinds: set[str] = field(default_factory=set)

    @property
    def in_all(self) -> str:
        """Return in words what the reference predicts for every image; "" if predictions differ."""
        return next(iter(self._kinds)) if len(self._kinds) == 1 else ""

    def run(self, samples: Samples) -> Iterator[int]:
        """Compare every image, and yield the number that are done after each batch.

        Raises CheckFailed if the reference does not answer, or lacks an output.
        """
        is_scored = self.labels is not None and self.labels.count > 0
        if is_scored:
            self.scores = self.metric.scores()
        for compared in self.runtimes:
            compared.outputs = self.metric.outputs
            compared.scores = self.metric.scores() if is_scored else None
        for batch in samples.batches():
            self.refused += batch.refused
            if batch.names:
                self._add(batch)
            yield self.images + len(self.refused) + len(self.not_finite)

    def _add(self, batch: Batch) -> None:
        try:
            truth = self.reference(batch.feeds)
            require_outputs(truth, self.metric.outputs)
        except (CheckFailed, InputError) as error:
            others = f" and the {len(batch.names) - 1} after it" if len(batch.names) > 1 else ""
            raise CheckFailed(f"the reference does not run on {batch.names[0]}{others}: {error}") from error
        outputs = {compared.stage: compared.run(batch.feeds) for compared in self.runtimes if compared.runs}
        for row, name in enumerate(batch.names):
            if not is_finite(truth, self.metric.outputs, row):
                self.not_finite.append(name)
                continue
            place = batch.places[row]
            label = None if self.labels is None else self.labels.of(name, place)
            reference = self.metric.read(truth, row, self.noise)
            self.images += 1
            self._kinds.add(self.metric.alike(reference))
            if self.scores is not None and label is not None:
                self.labelled += 1
                self.scores.add(reference, label, place)
            for compared in self.runtimes:
                found = outputs.get(compared.stage)
                if found is None:
                    continue
                prediction = self._compare(compared, found, row, name, reference)
                if compared.scores is not None and label is not None:
                    compared.scores.add(prediction, label, place)

    def _compare(self, compared: Compared, outputs: Mapping[str, Array], row: int, name: str, reference: Any) -> Any:
        """Compare one image of one runtime, and return its prediction; None if that is no number."""
        compared.images += 1
        if not is_finite(outputs, self.metric.outputs, row):
            compared.changes.append(Change(name, float("nan"), "a prediction", NOT_FINITE))
            return None
        prediction = self.metric.read(outputs, row, self.noise)
        if (difference := self.metric.difference(reference, prediction)) is not None:
            compared.changes.append(
                Change(name, difference.margin, difference.reference, difference.found, difference.is_tie)
            )
        return prediction
