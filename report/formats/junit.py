"""A verdict as JUnit's XML: a test for each output of each case of each stage.

The elements are those of Jenkins' schema (https://github.com/jenkinsci/xunit-plugin, junit-10.xsd).
"""

from __future__ import annotations

import re
from xml.etree import ElementTree

from ...validate.comparison import Comparison
from ...validate.predictions.results import RuntimePredictions
from ...validate.verdict import BUILT, FAILED, NOT_CHECKED, REFUSED, StageResult
from ..predictions_table import predictions_label, predictions_sentence
from ..table import stage_sentence
from .finding import Finding, Outcome

# XML has no way to write these down.
_NO_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def junit(outcome: Outcome) -> str:
    """Return the document. A stage that was not checked is skipped, with the reason, and fails if the verdict does."""
    suite = ElementTree.Element("testsuite", {"name": _plain(outcome.name), "time": "0"})
    at = {finding.stage: finding for finding in outcome.findings}
    for stage in outcome.stages:
        _add_stage(suite, outcome.name, stage, at.get(stage.label))
    if outcome.predictions is not None:
        for runtime in outcome.predictions.runtimes:
            _add_predictions(suite, outcome.name, runtime, outcome.predictions.max_flips)
    shown = {stage.label for stage in outcome.stages}
    if outcome.predictions is not None:
        shown |= {predictions_label(runtime) for runtime in outcome.predictions.runtimes}
    for finding in outcome.findings:
        if finding.stage not in shown:
            case = _case(suite, outcome.name, finding.stage, "the run" if finding.stage else "deploy")
            _fail(case, "error", finding.message, finding.message, finding)
    counts = {
        "tests": len(suite),
        "failures": len(suite.findall("testcase/failure")),
        "errors": len(suite.findall("testcase/error")),
        "skipped": len(suite.findall("testcase/skipped")),
    }
    written = {name: str(count) for name, count in counts.items()}
    suite.attrib.update(written)
    del written["skipped"]  # which the schema has for a suite alone
    suites = ElementTree.Element("testsuites", {"name": "attn2trt", **written})
    suites.append(suite)
    ElementTree.indent(suites)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ElementTree.tostring(suites, encoding="unicode") + "\n"


def _add_stage(suite: ElementTree.Element, target: str, stage: StageResult, finding: Finding | None) -> None:
    for name, found in stage.comparisons:
        case = _case(suite, target, stage.label, f"{name}, {found.output}")
        if not found.passed:
            _fail(case, "failure", found.detail, _details(stage, found), finding)
    failed = [found for _, found in stage.comparisons if not found.passed]
    # a stage that ran, and that keeps the verdict from being a pass though no number of it failed
    is_objection = finding is not None and finding.level == "warning"
    if is_objection or (stage.status in (FAILED, REFUSED) and not failed):
        why = f"{stage.status}: {stage.why}" if is_objection else stage.why
        _fail(_case(suite, target, stage.label, "the stage"), "failure", why, why, finding)
    elif stage.status in (BUILT, NOT_CHECKED):
        case = _case(suite, target, stage.label, stage.status)
        ElementTree.SubElement(case, "skipped", {"message": _plain(stage_sentence(stage) or stage.status)})


def _add_predictions(
    suite: ElementTree.Element, target: str, runtime: RuntimePredictions, max_flips: float | None
) -> None:
    """Add a test for a runtime's predictions on the data set; skipped if it was not compared or there is no limit."""
    case = _case(suite, target, predictions_label(runtime), f"{runtime.images} images")
    outcome, sentence = runtime.outcome(max_flips), predictions_sentence(runtime)
    if outcome == "failed" and max_flips is not None:
        _fail(case, "failure", sentence, sentence)
    elif outcome != "passed":
        ElementTree.SubElement(case, "skipped", {"message": _plain(sentence)})


def _case(suite: ElementTree.Element, target: str, stage: str, name: str) -> ElementTree.Element:
    given = {"classname": _plain(".".join(filter(None, [target, stage]))), "name": _plain(name), "time": "0"}
    return ElementTree.SubElement(suite, "testcase", given)


def _fail(case: ElementTree.Element, kind: str, message: str, details: str, finding: Finding | None = None) -> None:
    """Add a failure, with the line of code that it is about at the end: the schema has no attribute for that."""
    at = "" if finding is None or finding.at is None else f"\n{finding.at.file}:{finding.at.line}"
    ElementTree.SubElement(case, kind, {"message": _plain(message), "type": kind}).text = _plain(f"{details}{at}")


def _details(stage: StageResult, found: Comparison) -> str:
    sizes = ", ".join(f"{name}={size}" for name, size in found.sizes)
    numbers = f"error {found.error:.3g}, floor {found.floor:.3g}"
    return f"{found.detail}\nsizes: {sizes or 'fixed'}; {numbers}\n{stage.why}"


def _plain(text: str) -> str:
    return _NO_XML.sub("?", text)
