"""Workflow commands of GitHub Actions: each line of output becomes an annotation on a line of code."""

from __future__ import annotations

from collections.abc import Iterator

from .finding import Finding, Outcome

_COMMANDS = {"error": "error", "warning": "warning", "note": "notice"}


def github(outcome: Outcome) -> str:
    """Return an annotation for each finding that is not a mere note, and one for the whole."""
    return "\n".join(_lines(outcome)) + "\n"


def _lines(outcome: Outcome) -> Iterator[str]:
    for finding in outcome.findings:
        if finding.level != "note":
            yield _command(outcome, finding)
    kind = "notice" if outcome.passed else "error"
    if outcome.stages:
        yield f"::{kind} title={_property(f'attn2trt {outcome.name}')}::{_message(outcome.conclusion)}"


def _command(outcome: Outcome, finding: Finding) -> str:
    title = ", ".join(filter(None, [f"attn2trt {outcome.name}", finding.stage]))
    properties = {"file": finding.at.file, "line": str(finding.at.line)} if finding.at is not None else {}
    written = ",".join(f"{name}={_property(value)}" for name, value in {**properties, "title": title}.items())
    return f"::{_COMMANDS[finding.level]} {written}::{_message(finding.message)}"


def _message(text: str) -> str:
    """The text so that no line of it can be a command of its own."""
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _message(text).replace(":", "%3A").replace(",", "%2C")
