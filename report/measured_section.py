"""The measurements: the cost of the blocks by stage beside its limit, and the latency by runtime and batch."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ..engines.timing.paired import Difference
from ..modules.stages import stage_of
from .scale import Bar, LinearAxis, number


@dataclass(frozen=True)
class CostRow:
    """Milliseconds of one thing; ``is_limit`` if they are not measured but follow from the machine's rates."""

    name: str
    ms: str
    interval: str
    bar: Bar
    is_limit: bool


@dataclass(frozen=True)
class StageCostRow:
    """The time that a stage takes more with the blocks, and the least that its blocks can take."""

    stage: str
    plain: str
    more: str
    limit: str
    times: str
    bar: Bar


@dataclass(frozen=True)
class CostSection:
    """A document of ``attn2trt cost``; ``plain`` has the milliseconds of the backbone without blocks, "" if none."""

    target: str
    where: str
    plain: str
    rows: tuple[CostRow, ...]
    stages: tuple[StageCostRow, ...]
    warnings: tuple[str, ...]


def cost_section(document: Mapping[str, Any]) -> CostSection:
    """The section of a document. Raises KeyError, TypeError or ValueError if it is none of ``attn2trt cost``."""
    if "beside" in document:
        return _on_device(document)
    added = document["added"]
    lines = _alone(document["model"]) if added is None else _added(added)
    held = [value for _, ms, ends, _ in lines for value in (ms, *(ends or ()))]
    axis = LinearAxis.of(held)
    rows = tuple(
        CostRow(name, f"{ms:.3f}", _interval(ends), axis.bar(ms, interval=ends), is_limit)
        for name, ms, ends, is_limit in lines
    )
    stages = () if added is None else tuple(_stages(added, float(document["rates"]["call_ms"])))
    plain = "" if added is None else f"{float(added['plain']['timing']['latency']['median_ms']):.3f}"
    warnings = tuple(map(str, document["warnings"]))
    where = f"ONNX Runtime, {_where(document)}"
    return CostSection(str(document["target"]), where, plain, rows, stages, warnings)


def _on_device(document: Mapping[str, Any]) -> CostSection:
    """Return the section of what a plan costs on a GPU: the difference, the whole, the blocks' layers, and limits."""
    beside, model = document["beside"], document["model"]
    lines = [*([] if beside is None else [_difference(beside)]), *_of_plan(document, model)]
    axis = LinearAxis.of([value for _, ms, ends, _ in lines for value in (ms, *(ends or ()))])
    rows = tuple(
        CostRow(name, f"{ms:.4f}", _interval(ends, 4), axis.bar(ms, interval=ends), is_limit)
        for name, ms, ends, is_limit in lines
    )
    plain = "" if beside is None else f"{float(beside['plain']['timing']['latency']['median_ms']):.4f}"
    sizes = ", ".join(f"{name} {'x'.join(map(str, shape))}" for name, shape in document["inputs"].items())
    where = f"{document['built_by']} on {document['gpu']}, {document['precision']}, {sizes}"
    return CostSection(str(document["target"]), where, plain, rows, (), tuple(map(str, document["warnings"])))


def _difference(beside: Mapping[str, Any]) -> Line:
    return ("the blocks add", float(beside["difference"]["ms"]), _ends(beside["difference"]), False)


def _of_plan(document: Mapping[str, Any], model: Mapping[str, Any]) -> list[Line]:
    blocks, limits = document["blocks"], (model["least_ms"], document["blocks_least_ms"])
    lines: list[Line] = [
        ("the whole, as a CUDA graph", float(model["timing"]["latency"]["median_ms"]), None, False),
        ("profile: all layers", float(model["layers_ms"]), None, False),
        *([("profile: the blocks' layers", sum(float(one["ms"]) for one in blocks), None, False)] if blocks else ()),
    ]
    names = ("limit of the whole, by its bytes", "limit of the blocks, by their bytes")
    known = ((name, ms) for name, ms in zip(names, limits, strict=True) if ms is not None)
    return [*lines, *((name, float(ms), None, True) for name, ms in known)]


Line = tuple[str, float, "tuple[float, float] | None", bool]


def _alone(model: Mapping[str, Any]) -> list[Line]:
    timing, limit = model["timing"], model["limit"]
    return [
        ("measured, inputs in turn", float(timing["latency"]["median_ms"]), None, False),
        ("measured, the same input", float(timing["hot"]["median_ms"]), None, False),
        ("limit, operator by operator", float(limit["operators_ms"]), None, True),
        ("limit, fused", float(limit["least_ms"]), None, True),
    ]


def _added(added: Mapping[str, Any]) -> list[Line]:
    difference, control, total = added["difference"], added["control"], added["profile"]["total"]
    lines: list[Line] = [
        ("the blocks add", float(difference["ms"]), _ends(difference), False),
        ("the backbone differs from itself by", float(control["ms"]), _ends(control), False),
        ("profile: the blocks' operators", float(total["block_ms"]), None, False),
        ("the blocks alone", float(added["blocks_alone_ms"]), None, False),
        ("limit of the blocks, operator by operator", float(added["blocks_operators_ms"]), None, True),
        ("limit of the blocks, fused", float(added["blocks_least_ms"]), None, True),
    ]
    return lines


def _ends(found: Mapping[str, Any]) -> tuple[float, float]:
    return float(found["low_ms"]), float(found["high_ms"])


def _stages(added: Mapping[str, Any], call_ms: float) -> Iterator[StageCostRow]:
    """Yield the stages. A limit below a call of an empty graph, ``call_ms``, has no multiple."""
    entries = added["profile"]["stages"]
    limits: dict[str, float] = {}
    for block in added["blocks"]:
        for path in map(str, block["paths"]):
            stage = stage_of(path)  # by which the stages of the document were made
            limits[stage] = limits.get(stage, 0.0) + float(block["limit"]["least_ms"])
    axis = LinearAxis.of([*(float(entry["difference_ms"]) for entry in entries), *limits.values()])
    for entry in entries:
        name, more = str(entry["stage"]), float(entry["difference_ms"])
        limit = limits.get(name)
        marks = () if limit is None else (axis.mark(limit, "limit"),)
        yield StageCostRow(
            stage=name,
            plain=f"{float(entry['plain_ms']):.3f}",
            more=f"{more:+.3f}",
            limit="" if limit is None else f"{limit:.3f}",
            times=number(more / limit) if limit and limit >= call_ms and more > 0 else "",
            bar=axis.bar(more, *marks),
        )


@dataclass(frozen=True)
class LatencyRow:
    """One model, runtime and batch; without ``bar`` it was not measured, and ``why`` says why."""

    batch: int
    model: str
    runtime: str
    status: str
    why: str
    median: str = ""
    interval: str = ""
    p90: str = ""
    per_second: str = ""
    calls: str = ""
    bar: Bar | None = None


@dataclass(frozen=True)
class MissingReason:
    """The runtimes, by their names in one text, that were not measured for one reason."""

    runtimes: str
    status: str
    why: str


@dataclass(frozen=True)
class LatencySection:
    """A document of ``attn2trt benchmark``."""

    target: str
    where: str
    rows: tuple[LatencyRow, ...]
    missing: tuple[MissingReason, ...]
    confidence: str
    warnings: tuple[str, ...]


def latency_section(document: Mapping[str, Any]) -> LatencySection:
    """The section of a document. Raises KeyError, TypeError or ValueError if it is none of ``attn2trt benchmark``."""
    measured = {
        place: Difference.between([0.0] * len(medians), medians)
        for place, row in enumerate(document["rows"])
        if row["status"] == "measured"
        and (medians := [float(value) for value in row["measurement"]["round_medians_ms"]])
    }
    axis = LinearAxis.of(found.high_ms for found in measured.values())
    rows = [_latency(row, measured.get(place), axis) for place, row in enumerate(document["rows"])]
    confidence = min((found.confidence for found in measured.values()), default=0.0)
    return LatencySection(
        target=str(document["target"]),
        where=_where(document),
        rows=tuple(row for row in rows if row.bar is not None),
        missing=tuple(_reasons(row for row in rows if row.bar is None)),
        confidence=f"{confidence:.0%}",
        warnings=tuple(map(str, document["warnings"])),
    )


def _latency(row: Mapping[str, Any], found: Difference | None, axis: LinearAxis) -> LatencyRow:
    known = (int(row["batch"]), str(row["model"]), str(row["runtime"]), str(row["status"]), str(row.get("why", "")))
    if found is None:
        return LatencyRow(*known)
    measurement = row["measurement"]
    latency = measurement["latency"]
    ends = found.low_ms, found.high_ms
    return LatencyRow(
        *known,
        median=f"{float(latency['median_ms']):.3f}",
        interval=_interval(ends),
        p90="" if latency["p90_ms"] is None else f"{float(latency['p90_ms']):.3f}",
        per_second=f"{float(measurement['throughput_per_s']):.1f}",
        calls=str(latency["iterations"]),
        bar=axis.bar(float(latency["median_ms"]), interval=ends),
    )


def _reasons(rows: Iterable[LatencyRow]) -> Iterator[MissingReason]:
    """One entry for each reason, with every runtime that it keeps out once."""
    found: dict[tuple[str, str], dict[str, None]] = {}
    for row in rows:
        found.setdefault((row.status, row.why), {})[row.runtime] = None
    return (MissingReason(", ".join(runtimes), *reason) for reason, runtimes in found.items())


def _interval(ends: tuple[float, float] | None, digits: int = 3) -> str:
    return "" if ends is None else f"{ends[0]:.{digits}f} to {ends[1]:.{digits}f}"


def _where(document: Mapping[str, Any]) -> str:
    threads = int(document["threads"])
    return ", ".join(
        filter(None, [f"{threads} thread{'s' if threads > 1 else ''}", str(document["machine"].get("cpu", ""))])
    )
