"""Every format says what the verdict says, on the line of the code, and can be read by what it is for."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import page_sample
import pytest

from attn2trt.report.formats.finding import Outcome, outcome_of, outcome_of_error
from attn2trt.report.formats.github import github
from attn2trt.report.formats.junit import junit
from attn2trt.report.formats.markdown import markdown
from attn2trt.report.formats.sarif import sarif
from attn2trt.validate.place import Place
from attn2trt.validate.predictions.results import Predictions, RuntimePredictions
from attn2trt.validate.stages.stage import Stage
from attn2trt.validate.verdict import (
    AGAINST_FLOAT32,
    FAILED,
    NOT_CHECKED,
    REFUSED,
    Status,
    Verdict,
    built,
    not_checked,
)

# What SARIF 2.1.0 requires of the objects that are written here, and the values that it allows: (required, allowed).
SARIF = {
    "": ({"version", "runs"}, {"version": {"2.1.0"}}),
    "runs": ({"tool", "results"}, {"columnKind": {"utf16CodeUnits", "unicodeCodePoints"}}),
    "runs.tool": ({"driver"}, {}),
    "runs.tool.driver": ({"name"}, {}),
    "runs.tool.driver.rules": ({"id"}, {}),
    "runs.tool.driver.rules.shortDescription": ({"text"}, {}),
    "runs.invocations": ({"executionSuccessful"}, {}),
    "runs.invocations.toolExecutionNotifications": ({"message"}, {"level": {"none", "note", "warning", "error"}}),
    "runs.results": ({"message"}, {"level": {"none", "note", "warning", "error"}}),
    "runs.results.message": ({"text"}, {}),
    "runs.results.locations.physicalLocation": ({"artifactLocation"}, {}),
    "runs.results.locations.logicalLocations": (set(), {}),
    "runs.automationDetails": ({"id"}, {}),
}
# Of JUnit, as Jenkins' junit-10.xsd has it: (required attributes, others of those that are allowed, allowed children).
JUNIT: dict[str, tuple[set[str], set[str], set[str]]] = {
    "testsuites": (set(), {"name", "time", "tests", "failures", "errors"}, {"testsuite"}),
    "testsuite": ({"name", "tests", "failures", "errors"}, {"time", "skipped"}, {"testcase"}),
    "testcase": ({"name"}, {"classname", "time"}, {"skipped", "error", "failure"}),
    "failure": (set(), {"message", "type"}, set()),
    "error": (set(), {"message", "type"}, set()),
    "skipped": (set(), {"message", "type"}, set()),
}


def check_sarif(value: Any, path: str = "") -> None:
    """Compare every object with SARIF."""
    if isinstance(value, list):
        for entry in value:
            check_sarif(entry, path)
    elif isinstance(value, dict):
        required, allowed = SARIF.get(path, (set(), {}))
        assert required <= value.keys(), (path, value)
        for name, entry in value.items():
            assert name not in allowed or entry in allowed[name], (path, name, entry)
            check_sarif(entry, f"{path}.{name}".lstrip("."))


def check_junit(element: ElementTree.Element) -> None:
    """Compare every element with JUNIT, and the counts with what there is."""
    required, others, allowed = JUNIT[element.tag]
    assert required <= {*element.keys()} <= required | others, element.attrib
    assert {child.tag for child in element} <= allowed
    if element.tag in ("testsuites", "testsuite"):
        cases = list(element.iter("testcase"))
        assert int(element.attrib["tests"]) == len(cases)
        for name, kind in {"failures": "failure", "errors": "error", "skipped": "skipped"}.items():
            if name == "skipped" and element.tag == "testsuites":
                continue
            assert int(element.attrib[name]) == len([case for case in cases if case.find(kind) is not None])
    for child in element:
        check_junit(child)


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout in whose folder ``models`` the command runs."""
    (tmp_path / "models").mkdir()
    for name in ("net.py", "gate.py"):
        (tmp_path / "models" / name).write_text("\n" * 50)
    monkeypatch.chdir(tmp_path / "models")
    monkeypatch.setenv("GITHUB_WORKSPACE", str(tmp_path))
    return tmp_path


def outcome(verdict: Verdict, classes: list[dict[str, Any]] | None = None) -> Outcome:
    return outcome_of("mine", verdict, {"classes": classes or []}, "bundles/mine")


def test_github_gets_an_error_on_the_line_and_the_whole(checkout: Path) -> None:
    lines = github(outcome(page_sample.verdict(passed=False))).splitlines()
    at = "file=models/net.py,line=12,title=attn2trt mine%2C onnxruntime cpu"
    assert lines[0].startswith(f"::error {at}::case zeros, ")
    assert lines[-1].startswith("::error title=attn2trt mine::FAILED: the first stage that is wrong is onnxruntime cpu")
    assert "not checked: tensorrt" in lines[-1]
    (passed,) = github(outcome(page_sample.verdict())).splitlines()
    assert passed.startswith("::notice title=attn2trt mine::PASSED: 2 stages")


def test_no_text_can_be_a_command_of_its_own(checkout: Path) -> None:
    found = page_sample.verdict(passed=False)
    stage = replace(found.stages[0], why="100 %\n::error::mine\r,:")
    lines = github(outcome_of("a:b,c\n::x::", replace(found, stages=(stage,)), {}, "")).splitlines()
    assert len(lines) == 2
    assert "title=attn2trt a%3Ab%2Cc%0A%3A%3Ax%3A%3A%2C onnxruntime cpu::100 %25%0A::error::mine%0D,:" in lines[0]


@pytest.mark.parametrize(
    ("module", "source", "wanted"),
    [
        ("layer1.gate", "net.py:12", ("models/net.py", 12)),
        ("layer1.gate", "", ("models/gate.py", 7)),  # as validate has it, without PyTorch
        ("layer1.gate.conv", "/usr/lib/torch/conv.py:3", ("models/gate.py", 7)),
        ("layer2", "", ("models/net.py", 30)),  # the model itself is the innermost class in the checkout
        ("", "", ("models/net.py", 30)),
    ],
)
def test_the_line_is_that_of_the_innermost_class_in_the_checkout(
    checkout: Path, module: str, source: str, wanted: tuple[str, int]
) -> None:
    classes = [
        {"name": "Net", "source": "net.py:30", "modules": [""]},
        {"name": "Gate", "source": str(checkout / "models/gate.py") + ":7", "modules": ["layer1.gate"]},
    ]
    found = page_sample.verdict(passed=False)
    stage = replace(found.stages[0], place=Place(module, source=source))
    finding = outcome(replace(found, stages=(stage,)), classes).findings[0]
    assert finding.at is not None
    assert (finding.at.file, finding.at.line) == wanted
    without = outcome(replace(found, stages=(stage,))).findings[0].at
    assert without == (finding.at if source.startswith("net.py") else None)


def test_an_error_is_on_the_line_that_it_names(checkout: Path) -> None:
    error = "the module branches on its input at net.py:9: if x.sum() > 0; use torch.where"
    found = outcome_of_error("net.py", error)
    assert github(found).startswith("::error file=models/net.py,line=9,title=attn2trt net.py::the module branches")
    document = json.loads(sarif(found))
    check_sarif(document)
    assert document["runs"][0]["invocations"][0]["executionSuccessful"] is False
    suites = ElementTree.fromstring(junit(found))
    check_junit(suites)
    assert suites.attrib["errors"] == "1"
    assert "REFUSED: the module branches" in markdown(found)
    assert outcome_of_error("x", "at other.py:9").findings[0].at is None


@pytest.mark.parametrize("passed", [True, False])
def test_junit_is_junit_and_skips_what_was_not_checked(checkout: Path, passed: bool) -> None:
    suites = ElementTree.fromstring(junit(outcome(page_sample.verdict(passed=passed))))
    check_junit(suites)
    assert suites.attrib == {"name": "attn2trt", "tests": "5", "failures": str(int(not passed)), "errors": "0"}
    skipped = [case.attrib["classname"] for case in suites.iter("testcase") if case.find("skipped") is not None]
    assert skipped == ["mine.tensorrt-rtx fp32", "mine.tensorrt"]
    if not passed:
        (failed,) = suites.iter("failure")
        assert (failed.text or "").endswith("models/net.py:12")


@pytest.mark.parametrize(
    ("status", "allowed", "failures"),
    [
        (AGAINST_FLOAT32, False, 1),
        (AGAINST_FLOAT32, True, 0),
        (NOT_CHECKED, False, 1),
        (REFUSED, False, 1),
        (FAILED, False, 1),
    ],
)
def test_every_format_fails_if_the_verdict_does(status: Status, allowed: bool, failures: int, checkout: Path) -> None:
    """Also if no number failed: against float32 alone, with slices that no case compared, or of a killed process."""
    healthy = page_sample.verdict()
    stage = replace(healthy.stages[0], status=status, why="the reason")
    found = outcome(replace(healthy, stages=(stage, *healthy.stages[1:]), allows_float32=allowed))
    assert found.passed is (not failures)
    suites = ElementTree.fromstring(junit(found))
    check_junit(suites)
    assert int(suites.attrib["failures"]) == failures
    assert ("::error" in github(found), "### ✗" in markdown(found)) == (bool(failures),) * 2
    assert bool(json.loads(sarif(found))["runs"][0]["results"]) is bool(failures)


def test_a_verdict_that_judged_nothing_fails_in_every_format(checkout: Path) -> None:
    found = outcome(Verdict((not_checked(Stage("onnxruntime cpu"), "no truth"), built(Stage("tensorrt-rtx"), "built"))))
    assert not found.passed
    suites = ElementTree.fromstring(junit(found))
    check_junit(suites)
    assert suites.attrib["errors"] == "1"
    assert json.loads(sarif(found))["runs"][0]["results"][0]["level"] == "error"
    assert [line[:7] for line in github(found).splitlines()] == ["::error"] * 2


def test_a_reference_that_is_no_number_fails_in_every_format(checkout: Path) -> None:
    stage = Stage("onnxruntime cpu", "fp16")
    found = Predictions("", "", "", "", 8, (RuntimePredictions(stage, 8),), not_finite=("a.png",), max_flips=0.1)
    one = outcome_of("mine", page_sample.verdict(), {}, "", predictions=found)
    suites = ElementTree.fromstring(junit(one))
    check_junit(suites)
    assert not one.passed
    assert suites.attrib["errors"] == "1"
    assert "::error" in github(one)


def test_junit_has_no_character_that_xml_has_not(checkout: Path) -> None:
    found = page_sample.verdict(passed=False)
    stage = replace(found.stages[0], why='\x1b[31m \x00 \ud800 <>&"')
    text = junit(outcome(replace(found, stages=(stage,))))
    assert '?[31m ? ? <>&"' in (next(ElementTree.fromstring(text.encode()).iter("failure")).text or "")


@pytest.mark.parametrize("passed", [True, False])
def test_sarif_is_sarif_and_has_results_for_what_is_wrong_alone(checkout: Path, passed: bool) -> None:
    document = json.loads(sarif(outcome(page_sample.verdict(passed=passed))))
    check_sarif(document)
    (run,) = document["runs"]
    assert len(run["results"]) == (0 if passed else 1)
    said = [note["message"]["text"] for note in run["invocations"][0]["toolExecutionNotifications"]]
    assert [text.split(":")[0] for text in said] == ["tensorrt-rtx fp32", "tensorrt"]
    if not passed:
        (place,) = run["results"][0]["locations"]
        assert place["physicalLocation"]["artifactLocation"]["uri"] == "models/net.py"
        assert place["physicalLocation"]["region"]["startLine"] == 12
        assert run["tool"]["driver"]["rules"][run["results"][0]["ruleIndex"]]["id"] == run["results"][0]["ruleId"]


@pytest.mark.parametrize("broken", [{"version": "2.0.0", "runs": []}, {"version": "2.1.0"}])
def test_the_check_of_sarif_sees_what_is_none(broken: dict[str, Any]) -> None:
    with pytest.raises(AssertionError):
        check_sarif(broken)


@pytest.mark.parametrize(
    "broken",
    [
        "<testsuites><testsuite name='a' tests='1' failures='0' errors='0' skipped='0'/></testsuites>",
        "<testsuites><testcase name='a' classname='b'/></testsuites>",
    ],
)
def test_the_check_of_junit_sees_what_is_none(broken: str) -> None:
    with pytest.raises((AssertionError, KeyError)):
        check_junit(ElementTree.fromstring(broken))


def test_markdown_is_one_table_whatever_the_names_are(checkout: Path) -> None:
    found = page_sample.verdict(passed=False)
    stage = replace(found.stages[0], why="a | b\n| c @team #1 [x](y) <img>")
    text = markdown(outcome_of("a--> | `b`", replace(found, stages=(stage,)), {}, "bundles/`x`\n# y"))
    assert text.splitlines()[0] == "<!-- attn2trt a- -&gt; \\| \\`b\\` -->"
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert len(rows) == 3
    assert all(len(re.findall(r"(?<!\\)\|", row)) == 6 for row in rows)
    assert "a \\| b \\| c &#64;team \\#1 \\[x\\](y) &lt;img&gt;" in rows[2]
    assert "- see `models/net.py`, line 12" in text
    assert "Bundle `bundles/x # y`" in text
