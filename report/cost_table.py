"""The cost of a block as tables for people."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from ..engines.roofline import Limit, Rates
from ..engines.timing.costs import Added, Cost, Model
from ..engines.timing.paired import Difference
from .cost_summary import summary

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table

LEGEND = (
    "Limits: bytes and operations of the graph over what this machine reached: 'operators' if each operator reads "
    "its inputs and writes its outputs, 'fused' if the graph's inputs, outputs and weights move once."
)
STAGE_LEGEND = (
    "Stages are ONNX Runtime's own profile, which has no interval. 'layouts' are operators that only bring tensors "
    "into the layout of convolutions and back; 'backbone' is what its own operators take more, such as a sum that is "
    "no longer part of a convolution. Blocks alone are summed on inputs just used, each less an empty call."
)
BELOW_CLOCK = (
    "'x limit' is - for operators whose limit is below a microsecond each, the unit of the profile: what they take is "
    "their call, not their bytes."
)
BELOW_CALL = "'x fused limit' is - because that limit is below a call of an empty graph: no graph comes near it."


def cost_table(found: Cost) -> RenderableType:
    """The graphs, what the block costs in sum, stage by stage and shape by shape, the machine, and warnings."""
    from rich.console import Group
    from rich.text import Text

    sizes = ", ".join(f"{name} {'x'.join(map(str, shape))}" for name, shape in found.inputs.items())
    threads = f"{found.threads} thread{'s' if found.threads > 1 else ''}"
    where = f"ONNX Runtime on the CPU, {threads}, {found.machine.get('cpu', '')}"
    parts: list[RenderableType] = [Text(f"{found.target}, {sizes}, float32, {where}", style="bold"), _graphs(found)]
    parts += [_summary(found)]
    if found.added is not None:
        parts += [Text(line) for line in _differences(found.added)]
        parts += [_stages(found.added), _kinds(found.added), _blocks(found.added)]
        parts += [Text(line) for line in _remarks(found.added)]
        if not all(kind.is_above_clock for kind in found.added.profile.kinds if kind.ms and kind.limit_ms):
            parts.append(Text(BELOW_CLOCK))
    if 0 < _least(found) < found.rates.call_ms:
        parts.append(Text(BELOW_CALL))
    parts.append(Text(_machine(found.rates)))
    parts += [Text(f"warning: {text}", style="yellow") for text in found.warnings()]
    parts.append(Text(LEGEND, style="dim"))
    return Group(*parts, *([] if found.added is None else [Text(STAGE_LEGEND, style="dim")]))


def columns(first: str, *others: str) -> Table:
    """Return a table whose columns after the first stand on the right."""
    from rich.table import Table

    table = Table(first)
    for name in others:
        table.add_column(name, justify="right")
    return table


def _graphs(found: Cost) -> Table:
    table = columns(
        "graph", "median ms", "same input", "p90", "varies by", "calls", "MB moved", "MFLOP", "limit, operators"
    )
    models = [found.model] if found.added is None else [found.added.plain, found.model]
    for model in models:
        latency = model.timing.latency
        table.add_row(
            found.target if model is found.model else model.name,
            f"{latency.median_ms:.3f}",
            f"{model.timing.hot.median_ms:.3f}",
            "-" if latency.p90_ms is None else f"{latency.p90_ms:.3f}",
            "-" if latency.cv is None else f"{latency.cv:.1%}",
            str(latency.iterations),
            f"{model.limit.bytes / 1e6:.2f}",
            f"{model.limit.operations / 1e6:.1f}",
            f"{model.limit.operators_ms:.3f}",
        )
    if found.added is not None:
        plain, limit = found.added.plain.limit, found.model.limit
        table.add_row(
            "more",
            *[""] * 5,
            f"{limit.bytes / plain.bytes - 1:+.1%}",
            f"{limit.operations / plain.operations - 1:+.1%}",
            f"{limit.operators_ms / plain.operators_ms - 1:+.1%}",
        )
    return table


def _summary(found: Cost) -> Table:
    whole = found.model if found.added is None else found.added.plain
    lines, least = summary(found), _least(found)
    has_multiples = least >= found.rates.call_ms and least > 0
    shares = [] if found.added is None else ["of the plain backbone"]
    table = columns("what it costs", "ms", *shares, "x fused limit")
    for line in lines:
        share = [] if found.added is None else [f"{line.ms / whole.timing.latency.median_ms:.2%}"]
        # a difference that is not there is no multiple of anything
        times = f"{line.ms / least:.1f}" if has_multiples and line.ms > 0 and not line.control else "-"
        table.add_row(line.text, f"{line.ms:.4f}", *share, times)
    return table


def _least(found: Cost) -> float:
    """Return the fused limit of what is measured, in milliseconds; 0 without one."""
    last = summary(found)[-1]
    return 0.0 if last.measured else last.ms


def _differences(added: Added) -> Iterator[str]:
    doubt = "" if added.difference.is_clear else "; it may be nothing"
    yield f"The measured difference is {_interval(added.difference)}{doubt}."
    yield f"The plain backbone in a second process differs from itself by {_interval(added.control)}."


def _interval(found: Difference) -> str:
    return (
        f"{found.ms:+.4f} ms, between {found.low_ms:+.4f} and {found.high_ms:+.4f} with {found.confidence:.0%} "
        f"confidence, from {found.rounds} rounds"
    )


def _stages(added: Added) -> Table:
    table = columns("stage", "plain ms", "with block", "difference", "its operators", "layouts", "backbone")
    for stage in (*added.profile.stages, added.profile.total):
        numbers = (
            f"{stage.plain_ms:.3f}",
            f"{stage.with_block_ms:.3f}",
            f"{stage.difference_ms:+.3f}",
            f"{stage.block_ms:.3f}",
            f"{stage.more_layout_ms:+.3f}",
            f"{stage.more_rest_ms:+.3f}",
        )
        table.add_row(stage.stage, *numbers, end_section=stage is added.profile.stages[-1])
    return table


def _kinds(added: Added) -> Table:
    table = columns("its operators", "run", "ms", "limit", "x limit")
    for kind in added.profile.kinds:
        times = "-" if kind.times_limit is None else f"{kind.times_limit:.1f}"
        table.add_row(kind.kind, str(kind.count or "fused"), f"{kind.ms:.3f}", f"{kind.limit_ms:.4f}", times)
    return table


def _blocks(added: Added) -> Table:
    names = ("count", "alone ms", "same input", "MB moved", "MB least", "MFLOP", "limit, operators", "limit, fused")
    table = columns("block", *names)
    for block in added.blocks:
        table.add_row(
            f"{block.kind} {'x'.join(map(str, block.shape))}",
            str(block.count),
            f"{block.model.timing.latency.median_ms:.4f}",
            f"{block.model.timing.hot.median_ms:.4f}",
            *_limit(block.model),
        )
    return table


def _limit(model: Model) -> list[str]:
    limit: Limit = model.limit
    return [
        f"{limit.bytes / 1e6:.3f}",
        f"{limit.least_bytes / 1e6:.3f}",
        f"{limit.operations / 1e6:.2f}",
        f"{limit.operators_ms:.4f}",
        f"{limit.least_ms:.4f}",
    ]


def _remarks(added: Added) -> Iterator[str]:
    profile = added.profile
    yield (
        f"The profile is of {profile.calls} calls, the numbers medians; with it a call of the plain backbone takes "
        f"{profile.plain_slowdown:.2f} times as long as without, one of the target {profile.slowdown:.2f} times."
    )
    for kind, there in dict.fromkeys((block.kind, block.replaces) for block in added.blocks if block.replaces):
        yield f"{kind} replaces a {there} of the plain backbone: the difference is its cost less that one's."


def _machine(rates: Rates) -> str:
    speeds = ", ".join(f"{rate / 1e9:.1f} GB/s over {size / 1e6:.3g} MB" for size, rate in rates.bandwidth)
    return (
        f"This machine in this run: {speeds}; {rates.operations_per_s / 1e9:.1f} GFLOP/s; a call of an empty graph "
        f"takes {rates.call_ms:.4f} ms."
    )
