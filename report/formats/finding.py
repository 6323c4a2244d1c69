"""The findings of a run, each with the line of the user's code that it is about."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from ...validate.metrics import PYTORCH
from ...validate.predictions.results import Predictions
from ...validate.verdict import AGAINST_FLOAT32, BUILT, FAILED, NOT_CHECKED, REFUSED, StageResult, Verdict
from ..predictions_table import predictions_conclusion, predictions_label, predictions_sentence
from ..table import conclusion, stage_sentence

Level = Literal["error", "warning", "note"]
# The folder to which the paths of annotations are relative in a workflow of GitHub.
WORKSPACE = "GITHUB_WORKSPACE"
# A line of Python that a message names.
_LINE = re.compile(r"((?:[A-Za-z]:)?[^\s:;,'\"()]+\.py):(\d+)")


@dataclass(frozen=True)
class CodeLine:
    """A line of a file, by its path from the root of the checkout with forward slashes."""

    file: str
    line: int


@dataclass(frozen=True)
class Finding:
    """One stage that is no pass.

    Attributes:
        rule: What kind of finding it is: ``verdict``, ``predictions``, ``not-checked`` or ``refused``.
        level: How bad it is.
        stage: The stage's label; "" for a run that came to no verdict.
        message: What was found.
        at: The line that it is about, if that is in the checkout.
        module: The path of the module that the verdict names, if it names one.
    """

    rule: str
    level: Level
    stage: str
    message: str
    at: CodeLine | None = None
    module: str | None = None


@dataclass(frozen=True)
class Outcome:
    """A run on one target, for every format.

    Attributes:
        name: The target.
        passed: The verdict.
        conclusion: It in one sentence.
        stages: Its stages; none if there is no verdict.
        findings: What is no pass, worst first.
        bundle: The folder, if there is one.
        source: Names whose float64 the truth is.
        predictions: What was found on a data set, if one was given.
    """

    name: str
    passed: bool
    conclusion: str
    stages: tuple[StageResult, ...]
    findings: tuple[Finding, ...]
    bundle: str = ""
    source: str = PYTORCH
    predictions: Predictions | None = None


def outcome_of(
    name: str,
    verdict: Verdict,
    manifest: Mapping[str, Any],
    bundle: str,
    *,
    predictions: Predictions | None = None,
) -> Outcome:
    """The outcome of a verdict on the bundle with this ``manifest``, and of the predictions on a data set."""
    lines = _Lines(manifest.get("classes", ()))
    found = [_finding(stage, verdict, lines) for stage in verdict.stages]
    found += [] if predictions is None else _predicted(predictions)
    order = {"error": 0, "warning": 1, "note": 2}
    findings = sorted((one for one in found if one is not None), key=lambda one: order[one.level])
    stages, source = verdict.stages, verdict.source
    passed, said = bool(verdict), conclusion(verdict)
    if not passed and all(one.level == "note" for one in findings):  # nothing was wrong, and nothing was judged
        findings.insert(0, Finding("not-checked", "error", "", said))
    if predictions is not None:
        passed = passed and predictions.passed is not False
        said = f"{said}. {predictions_conclusion(predictions)}"
    return Outcome(name, passed, said, stages, tuple(findings), bundle, source, predictions)


def outcome_of_error(name: str, error: str) -> Outcome:
    """The outcome of a run that ended with an error, on the line that the error names if it is in the checkout."""
    message = " ".join(error.split())
    places = (in_checkout(file, int(line)) for file, line in _LINE.findall(message))
    at = next((place for place in places if place is not None), None)
    return Outcome(name, False, f"REFUSED: {message}", (), (Finding("refused", "error", "", message, at),))


def in_checkout(file: str, line: int) -> CodeLine | None:
    """Return the line by its path from the root of the checkout; None if the file is not there."""
    root = Path(os.environ.get(WORKSPACE) or Path.cwd()).resolve()
    path = (Path.cwd() / file).resolve()
    if not path.is_file() or not path.is_relative_to(root):
        return None
    return CodeLine(path.relative_to(root).as_posix(), line)


class _Lines:
    """The lines of a model's classes, from what the manifest says of them."""

    def __init__(self, classes: Sequence[Mapping[str, Any]]) -> None:
        self._sources = {path: str(entry["source"]) for entry in classes for path in entry["modules"]}

    def at(self, path: str, source: str) -> CodeLine | None:
        """The line of the class of a module or, if that is not in the checkout, of the innermost module around it."""
        while True:
            for text in (source, self._sources.get(path, "")):
                file, _, line = text.rpartition(":")
                if line.isdigit() and (found := in_checkout(file, int(line))) is not None:
                    return found
            if not path:
                return None
            path, source = path.rpartition(".")[0], ""


def _predicted(predictions: Predictions) -> list[Finding | None]:
    """Return a finding for each runtime that changes too many predictions, or that was not compared."""
    found: list[Finding | None] = []
    for runtime in predictions.runtimes:
        outcome = runtime.outcome(predictions.max_flips)
        label = predictions_label(runtime)
        if outcome == "failed" and predictions.is_judged:
            found.append(Finding("predictions", "error", label, predictions_sentence(runtime)))
        elif outcome in ("failed", "not compared"):
            found.append(Finding("not-checked", "note", label, runtime.why))
    if why := str(predictions.error or predictions.objection):
        found.append(Finding("predictions", "error", "reference, predictions", why))
    return found


def _finding(stage: StageResult, verdict: Verdict, lines: _Lines) -> Finding | None:
    level: Level
    if stage.status == FAILED:
        rule, level = "verdict", "error"
    elif stage.status == REFUSED:
        rule, level = "refused", "error"
    elif stage.status == AGAINST_FLOAT32:
        rule, level = "not-checked", "note" if verdict.allows_float32 else "warning"
    elif stage.status in (BUILT, NOT_CHECKED):
        rule, level = "not-checked", "warning" if stage.is_incomplete else "note"
    else:
        return None
    module = None if stage.place is None else stage.place.module
    at = None if stage.place is None else lines.at(stage.place.module, stage.place.source)
    return Finding(rule, level, stage.label, stage_sentence(stage, verdict.source) or stage.status, at, module)
