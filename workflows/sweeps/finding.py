"""The finding of a job in one sentence, from the JSON that its command printed or from its line of error."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ...core.processes import ending
from ...core.typed_json import parsed
from ...engines.timing.runtimes import RUNTIMES, is_of_bundle
from ...errors import InputError

LONGEST = 600
TARGET = "target"  # the model of a benchmark's row; the other is the plain backbone


@dataclass(frozen=True)
class Finding:
    """A sentence, and the median latency of the fastest runtime if there is one, in milliseconds."""

    sentence: str
    latency_ms: float | None = None


def finding_of(verb: str, output: str, errors: str, code: int) -> Finding:
    """Return what a command found.

    Args:
        verb: The command.
        output: Its stdout: one JSON document, or nothing.
        errors: Its stderr.
        code: Its exit code.
    """
    try:
        document = parsed(output)
        return _READERS[verb](document)
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, InputError):
        lines = [line for line in errors.splitlines() if line.startswith(("error:", "internal error:"))]
        line = lines[-1] if lines else (errors.strip().splitlines() or [f"the command {ending(code)}"])[-1]
        return Finding(line.removeprefix("error: ")[:LONGEST])


def _verdict(document: Mapping[str, Any]) -> Finding:
    from ...report.table import conclusion
    from ...validate.verdict import Verdict

    verdict = conclusion(Verdict.from_json(document["verdict"]))
    predictions = document.get("predictions")
    return Finding(verdict if predictions is None else f"{verdict}; {_predictions(predictions)}")


def _predictions(found: Mapping[str, Any]) -> str:
    from ...validate.stages.stage import read_stage

    if found.get("why"):
        return f"predictions not compared: {found['why']}"[:LONGEST]
    compared = [runtime for runtime in found["runtimes"] if runtime["images"]]
    if not compared:
        return "no predictions compared"
    failed = "PREDICTIONS FAILED: " if found["passed"] is False else ""
    most = max(compared, key=lambda runtime: float(runtime["share"]))
    count = f"{most['changed']} of {most['images']} predictions"
    return f"{failed}{count} changed" + (f" in {read_stage(most).label}" if most["changed"] else "")


def _exported(document: Mapping[str, Any]) -> Finding:
    return Finding(f"exported, numbers not checked; opset {document['opset']}")


def _compiled(document: Mapping[str, Any]) -> Finding:
    plans = [str(plan["file"]) for plan in document["plans"]]
    return Finding(f"built, not checked: {', '.join(plans)}")


def _tuned(document: Mapping[str, Any]) -> Finding:
    return Finding("no rewrite is faster" if document["graph"] is None else f"faster, and judged: {document['graph']}")


def _timed(document: Mapping[str, Any]) -> Finding:
    rows = [row for row in document["rows"] if row.get("measurement") and row["model"] == TARGET]
    others = {name for name, runtime in RUNTIMES.items() if not is_of_bundle(runtime)}
    ours = [row for row in rows if row["runtime"] not in others] or rows
    wrong = [row["runtime"] for row in document["rows"] if row["status"] in ("wrong", "failed")]
    tail = f"; not right: {', '.join(dict.fromkeys(wrong))}" if wrong else ""
    if not ours:
        return Finding(f"no runtime could be timed here{tail}")
    fastest = min(ours, key=lambda row: float(row["measurement"]["latency"]["median_ms"]))
    median = float(fastest["measurement"]["latency"]["median_ms"])
    return Finding(f"fastest: {fastest['runtime']}, {median:.3g} ms at batch {fastest['batch']}{tail}", median)


def _costed(document: Mapping[str, Any]) -> Finding:
    added = document.get("added")
    if not added:
        return Finding(f"{float(document['model']['timing']['latency']['median_ms']):.3g} ms")
    difference = added["difference"]
    interval = f"{float(difference['low_ms']):.3g} to {float(difference['high_ms']):.3g}"
    return Finding(f"the blocks add {float(difference['ms']):.3g} ms ({interval})")


_READERS: Mapping[str, Callable[[Mapping[str, Any]], Finding]] = {
    "deploy": _verdict,
    "export": _exported,
    "check": _verdict,
    "validate": _verdict,
    "compile": _compiled,
    "tune": _tuned,
    "benchmark": _timed,
    "cost": _costed,
}
