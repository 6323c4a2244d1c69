"""The cost of a block on a GPU as tables for people."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from ..engines.tensorrt.layer_costs import LayerCost
from ..engines.tensorrt.layer_tensors import short_form
from ..engines.timing.device_costs import WHOLE, Beside, BlockOnDevice, DeviceCost, PlanModel, Rates
from .cost_table import columns

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table

# Layers of a network beyond its blocks are shown if they take this share of its time.
SHOWN_SHARE, FEW = 0.02, 40
LONGEST = 48
LEGEND = (
    "'on the GPU' is the median of the whole plan as a CUDA graph, by the GPU's clock. 'least' is what must be read "
    "and written, each byte once, over the bandwidth of copies in the same run; the time of products is no part of it. "
    "'x' is the one over the other, - if a launch alone takes longer than the bytes."
)
LAYER_LEGEND = (
    "Layers are TensorRT's profiler, which waits after each of them and has no interval; their sum is mostly longer "
    "than the whole. 'MB' with ~ has the graph's sizes and types, since the inspector leaves them open; - is unknown."
)


def device_cost_table(found: DeviceCost) -> RenderableType:
    """The plans, the blocks, stage by stage, layer by layer, the GPU, and warnings."""
    from rich.console import Group
    from rich.text import Text

    sizes = ", ".join(f"{name} {'x'.join(map(str, shape))}" for name, shape in found.inputs.items())
    title = f"{found.target}, {sizes}, {found.precision}, {found.built_by} on {found.gpu}"
    parts: list[RenderableType] = [Text(title, style="bold"), _plans(found)]
    if found.beside is not None:
        parts += [Text(_difference(found, found.beside)), _stages(found.beside)]
    else:
        parts.append(_parts(found.model))
    if found.blocks:
        parts.append(_blocks(found))
    parts += [_layers(found), *map(Text, _remarks(found))]
    parts += [Text(f"warning: {text}", style="yellow") for text in found.warnings()]
    return Group(*parts, Text(LEGEND, style="dim"), Text(LAYER_LEGEND, style="dim"))


def _plans(found: DeviceCost) -> Table:
    table = columns("plan", "on the GPU, ms", "same input", "p90", "varies by", "calls", "MB least", "least, ms", "x")
    models = [found.model] if found.beside is None else [found.beside.plain, found.model]
    for model in models:
        latency, least = model.timing.latency, found.rates.ms(model.least_bytes)
        table.add_row(
            model.name,
            f"{model.ms:.4f}",
            f"{model.timing.hot.median_ms:.4f}",
            "-" if latency.p90_ms is None else f"{latency.p90_ms:.4f}",
            "-" if latency.cv is None else f"{latency.cv:.1%}",
            str(latency.iterations),
            _mb(model.least_bytes),
            _ms(least),
            _of_bytes(model.ms, least, found.rates),
        )
    return table


def _difference(found: DeviceCost, beside: Beside) -> str:
    difference = beside.difference
    share = f"{difference.ms / beside.plain.ms:+.1%} of the plain backbone"
    doubt = "" if difference.is_clear else "; it may be nothing"
    least = found.blocks_least_ms
    times = _of_bytes(difference.ms, least, found.rates)
    multiple = "a launch alone takes longer" if times == "-" else f"{times} times as long"
    limit = "" if least is None else f" Its limit is {least:.4f} ms: {multiple}."
    interval = f"between {difference.low_ms:+.4f} and {difference.high_ms:+.4f}"
    return (
        f"The block costs {difference.ms:+.4f} ms, {share}, {interval} with {difference.confidence:.0%} confidence, "
        f"from {difference.rounds} rounds{doubt}.{limit if difference.is_clear else ''}"
    )


def _stages(beside: Beside) -> Table:
    table = columns("stage, by layers", "plain, ms", "with block", "difference", "its layers", "reformats", "the rest")
    for stage in (*beside.profile.stages, beside.profile.total):
        numbers = (stage.plain_ms, stage.with_block_ms, stage.difference_ms, stage.block_ms)
        table.add_row(
            stage.stage,
            *(f"{number:.4f}" for number in numbers[:2]),
            f"{numbers[2]:+.4f}",
            f"{numbers[3]:.4f}",
            f"{stage.more_layout_ms:+.4f}",
            f"{stage.more_rest_ms:+.4f}",
            end_section=stage is beside.profile.stages[-1],
        )
    return table


def _parts(model: PlanModel) -> Table:
    table = columns("part, by layers", "ms", "share", "its blocks, ms")
    for part in model.parts:
        table.add_row(part.name, f"{part.ms:.4f}", f"{part.ms / model.layers_ms:.1%}", f"{part.block_ms:.4f}")
    return table


def _blocks(found: DeviceCost) -> Table:
    table = columns("block", "its layers, ms", "shared layers", "MB least", "least, ms", "x")
    for block in found.blocks:
        _add_block(table, f"{block.path} ({block.kind})", [block], found.rates)
    if len(found.blocks) > 1:
        table.add_section()
        _add_block(table, f"all {len(found.blocks)}", found.blocks, found.rates)
    return table


def _add_block(table: Table, name: str, blocks: Sequence[BlockOnDevice], rates: Rates) -> None:
    sizes = [block.least_bytes for block in blocks]
    moved = None if None in sizes else sum(size for size in sizes if size is not None)
    own, least = sum(block.ms for block in blocks), rates.ms(moved)
    shared = sum(block.shared_ms for block in blocks)
    table.add_row(name, f"{own:.4f}", f"{shared:.4f}", _mb(moved), _ms(least), _of_bytes(own, least, rates))


def _layers(found: DeviceCost) -> Table:
    from rich.text import Text

    shown = list(_shown(found.model))
    texts = ("layer", "type", "in", *(["formats"] if any(map(_formats, shown)) else []), "kernel", "module")
    table = columns(*texts, "ms", "share", "MB", "least, ms", "x")
    for column in table.columns[: len(texts)]:
        column.justify = "left"
    for layer in shown:
        least = found.rates.ms(layer.bytes)
        about = {"layer": _short(layer.name), "type": layer.kind, "in": layer.precision, "formats": _formats(layer)}
        about |= {"kernel": _short(layer.kernel), "module": _module(layer)}
        table.add_row(
            *(Text(about[name] or "-") for name in texts),
            _ms(layer.ms),
            f"{found.model.share(layer):.1%}",
            f"{'~' * layer.is_assumed}{_mb(layer.bytes)}",
            _ms(least),
            _of_bytes(layer.ms, least, found.rates),
        )
    left = [layer for layer in found.model.layers if layer.ms and layer not in shown]
    if left:
        numbers = sum(layer.ms or 0.0 for layer in left), sum(map(found.model.share, left))
        others = [f"{len(left)} more", *[""] * (len(texts) - 1)]
        table.add_row(*others, f"{numbers[0]:.4f}", f"{numbers[1]:.1%}", *[""] * 3)
    return table


def _formats(layer: LayerCost) -> str:
    """Return the different types and formats that a layer reads and writes, briefly; "" if they are left open."""
    reads, writes = (" ".join(dict.fromkeys(map(short_form, forms))) for forms in (layer.reads, layer.writes))
    return f"{reads} > {writes}" if reads and writes else reads or writes


def _shown(model: PlanModel) -> Iterator[LayerCost]:
    """Yield what runs: of few layers all, of a network those of blocks and those that take long."""
    runs = [layer for layer in model.layers if layer.ms]
    for layer in runs:
        if len(runs) <= FEW or layer.place != "rest" or (layer.ms or 0.0) >= SHOWN_SHARE * model.layers_ms:
            yield layer


def _module(layer: LayerCost) -> str:
    """Return the modules that a layer computes, shortly; a star marks one that a block shares with the rest."""
    first, more = next(iter(layer.modules), "-") or WHOLE, len(layer.modules) - 1
    return f"{first}{f' +{more}' if more > 0 else ''}{' *' if layer.place == 'shared' else ''}"


def _remarks(found: DeviceCost) -> Iterator[str]:
    rates = found.rates
    yield (
        f"This GPU in this run: copies move {rates.bytes_per_s / 1e9:.0f} GB/s; a CUDA graph that copies four bytes "
        f"takes {rates.launch_ms:.4f} ms."
    )
    models = [found.model] if found.beside is None else [found.beside.plain, found.model]
    sums = (
        f"{model.layers_ms:.4f} ms of {model.name}, {_times(model.layers_ms, model.ms)} times the whole"
        for model in models
    )
    yield f"The profiler's layers add up to {'; '.join(sums)}; medians of {found.model.calls} calls."
    moved = rates.ms(found.model.moved_bytes)
    uncounted = f", without {found.model.uncounted} whose bytes are unknown" if found.model.uncounted else ""
    yield (
        f"As this plan fuses them, layers move {_mb(found.model.moved_bytes)} MB{uncounted}: {_ms(moved)} ms at that "
        "bandwidth."
    )
    if any(layer.place == "shared" for layer in found.model.layers):
        yield "* A layer that a block shares with the rest counts as the rest, beside the block as 'shared'."
    idle = sum(not layer.ms for layer in found.model.layers)
    if idle:
        yield f"The profiler has no time of {idle} of {len(found.model.layers)} layers: nothing runs for them."


def _of_bytes(ms: float | None, least: float | None, rates: Rates) -> str:
    """Return how many times as long as the least something took; "-" if a launch takes longer than its bytes."""
    return _times(ms, least) if least is not None and least >= rates.launch_ms else "-"


def _short(text: str) -> str:
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"


def _mb(size: int | None) -> str:
    return "-" if size is None else f"{size / 1e6:.3f}"


def _ms(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


def _times(value: float | None, least: float | None) -> str:
    return f"{value / least:.2f}" if value and least and value > 0 else "-"
