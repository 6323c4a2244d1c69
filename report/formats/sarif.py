"""A verdict as SARIF 2.1.0, which code hosts show beside the code.

https://docs.oasis-open.org/sarif/sarif/v2.1.0/sarif-v2.1.0.html
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

from ... import __version__
from .finding import Finding, Outcome

SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"
RULES = {
    "verdict": "A graph computes something else than the PyTorch module",
    "predictions": "More predictions changed on a data set than allowed",
    "not-checked": "A stage was not compared, or not with float64",
    "refused": "The module cannot be deployed as asked",
}


def sarif(outcome: Outcome) -> str:
    """Return the document. An unchecked stage is a notification, since a result would be an alert about the code."""
    results = [finding for finding in outcome.findings if finding.level != "note"]
    notes = [finding for finding in outcome.findings if finding.level == "note"]
    driver = {
        "name": "attn2trt",
        "version": __version__,
        "rules": [
            {"id": name, "shortDescription": {"text": text}, "defaultConfiguration": {"level": "error"}}
            for name, text in RULES.items()
        ],
    }
    invocation = {
        "executionSuccessful": bool(outcome.stages),
        "toolExecutionNotifications": [
            {"level": "note", "message": {"text": f"{note.stage}: {note.message}"}} for note in notes
        ],
    }
    run = {
        "tool": {"driver": driver},
        "automationDetails": {"id": f"attn2trt/{outcome.name}/"},
        "invocations": [invocation],
        "results": [_result(outcome, finding) for finding in results],
        "columnKind": "unicodeCodePoints",
    }
    document = {"$schema": SCHEMA, "version": "2.1.0", "runs": [run]}
    return json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def _result(outcome: Outcome, finding: Finding) -> dict[str, Any]:
    said = ": ".join(filter(None, [outcome.name, finding.stage, finding.message]))
    identity = json.dumps([outcome.name, finding.rule, finding.stage, finding.module])
    return {
        "ruleId": finding.rule,
        "ruleIndex": [*RULES].index(finding.rule),
        "level": finding.level,
        "message": {"text": said},
        "locations": _locations(finding),
        "partialFingerprints": {"attn2trt/v1": hashlib.sha256(identity.encode()).hexdigest()},
    }


def _locations(finding: Finding) -> list[dict[str, Any]]:
    location: dict[str, Any] = {}
    if finding.at is not None:
        artifact = {"uri": _uri(finding.at.file), "uriBaseId": "%SRCROOT%"}
        location["physicalLocation"] = {"artifactLocation": artifact, "region": {"startLine": finding.at.line}}
    if finding.module:
        location["logicalLocations"] = [{"fullyQualifiedName": finding.module, "kind": "member"}]
    return [location] if location else []


def _uri(path: str) -> str:
    from urllib.parse import quote

    return quote(path)
