"""docs/gpu_tune.md: what gpu_tune.py found on a GPU.

python benchmarks/gpu_tune_page.py        writes the page again from results/gpu_tune.json

Without that file the page says that nothing has been measured, and has no figure.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gpu import tune_work
from gpu.document import by_reason
from gpu.tune_work import AS_IT_IS, COMPILED, EAGER, PLAIN, TIMED, TUNED
from page_text import ms_text, short, table

from attn2trt.engines.node_times import LAYOUT

ROOT = Path(__file__).parents[1]
RESULTS, PAGE = ROOT / "benchmarks/results/gpu_tune.json", ROOT / "docs/gpu_tune.md"
HALF = "fp16"
# Of a block's bytes over bandwidth, at the batch that its maps are far beyond every cache.
BOUND, WIDE_BATCH = 1.5, 32
HALF_BYTES = 2
SLOWEST = 6


def is_measured(found: Mapping[str, Any]) -> bool:
    """Return True if a GPU has timed something."""
    return any(row["kind"] in TIMED and row["status"] == "done" for row in found["rows"])


@dataclass
class Cell:
    """All that was found of a case at a batch: the milliseconds of each model, and the costs of plans by precision."""

    case: str
    batch: int
    ms: dict[tuple[str, str], float] = field(default_factory=dict)
    costs: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    trials: Mapping[str, Any] = field(default_factory=dict)
    is_tuned: bool = False

    @property
    def ours(self) -> float | None:
        """Return the milliseconds of the faster one of our plans in float16."""
        return min((self.ms[what, HALF] for what in (TUNED, AS_IT_IS) if (what, HALF) in self.ms), default=None)

    @property
    def rival(self) -> tuple[str, float] | None:
        """Return the fastest of the others, and its milliseconds."""
        found = [(what, self.ms[what, HALF]) for what in (PLAIN, EAGER, COMPILED) if (what, HALF) in self.ms]
        return min(found, key=lambda one: one[1], default=None)

    @property
    def is_slower(self) -> bool:
        """Return True if one of the others is faster than ours."""
        return self.ours is not None and self.rival is not None and self.ours > self.rival[1]

    @property
    def least_ms(self) -> float | None:
        """Return the milliseconds that the bytes of our plan in float16 take; None if they are unknown.

        A block reads its input twice: its gate is not known before all of it is read, and no cache holds that much.
        """
        cost = self.costs.get(HALF)
        if cost is None or not cost["model"]["least_ms"]:
            return None
        again = sum(math.prod(sizes) * HALF_BYTES for sizes in cost["inputs"].values()) if is_block(self) else 0
        return float(cost["model"]["least_ms"] + again / cost["rates"]["bytes_per_s"] * 1e3)

    @property
    def times_least(self) -> float | None:
        """Return how many times as long our plan takes as its bytes over bandwidth; None if that is unknown."""
        if self.least_ms is None:
            return None
        return float(self.costs[HALF]["model"]["timing"]["latency"]["median_ms"] / self.least_ms)

    @property
    def is_beyond_bound(self) -> bool:
        """Return True for a block at the batch of the bound whose plan takes longer than that."""
        is_bounded = is_block(self) and self.batch == WIDE_BATCH
        return is_bounded and self.times_least is not None and self.times_least > BOUND


def is_block(cell: Cell) -> bool:
    """Return True for a block by itself."""
    case = tune_work.cases().get(cell.case)
    return case is not None and case.is_block


def cells_of(found: Mapping[str, Any]) -> list[Cell]:
    """Return what was found of each case at each batch, in the order of the rows."""
    cells: dict[tuple[str, int], Cell] = {}
    for row in found["rows"]:
        if row["kind"] not in TIMED or row["status"] != "done":
            continue
        cell = cells.setdefault((row["case"], row["batch"]), Cell(row["case"], row["batch"]))
        cell.ms |= {(one["what"], one["precision"]): one["ms"] for one in row.get("timing", ()) if one["ms"]}
        if row.get("cost"):
            cell.costs[row["precision"]] = row["cost"]
        if row["kind"] in ("trial", "whole"):
            cell.trials = row.get("tuning", row)
        cell.is_tuned |= bool(row.get("is_faster"))
    return [*cells.values()]


def page(found: Mapping[str, Any] | None) -> str:
    """Return the page of benchmarks/results/gpu_tune.json; None if there are no results."""
    lines = ["# Graphs tuned for TensorRT on a GPU", ""]
    if found is None or not is_measured(found):
        return "\n".join([*lines, *_nothing_yet()]) + "\n"
    cells = cells_of(found)
    for section in (_others, _bounds, _integers, _missed, _trials):
        lines += [*section(cells)]
    lines[2:2] = [*_introduction(found)]
    return "\n".join([*lines, *_left_out(found)]).rstrip() + "\n"


def _nothing_yet() -> Iterator[str]:
    yield "No run on a GPU has written results yet, so there is no figure here. They come from `python"
    yield "benchmarks/gpu_tune.py FOLDER --minutes 10` on a machine with an NVIDIA GPU"
    yield "([gpu_runs.md](gpu_runs.md#tuned-plans)), which takes these cases in this order. What is fp16 or"
    yield "int8-fp16 takes and gives float16:"
    yield ""
    cases = ((number, case) for number, wave in enumerate(tune_work.WAVES, 1) for case in wave)
    yield from table(
        "| case | batches | plans",
        (
            (
                *(number, f"`{case.name}`", ", ".join(map(str, case.batches))),
                ", ".join(f"{name}, tuned" if name == case.tuned_in else name for name in case.precisions),
            )
            for number, case in cases
        ),
    )
    yield ""
    yield "Ten minutes are for the first three; a run that is started again goes on. What is not reached is listed."


def _introduction(found: Mapping[str, Any]) -> Iterator[str]:
    gpus = ", ".join(found["devices"])
    yield f"Generated by `python benchmarks/gpu_tune.py` on {found['date']}: {gpus}, driver {found['driver']}, TensorRT"
    yield f"{found['tensorrt']}. Float16, inputs and outputs in float16. Method: {found['method']}."
    if found["without_tactics"]:
        yield f"Without kernels of {', '.join(found['without_tactics'])}: a plan that may use them can be faster."
    if found.get("level") is not None:
        yield f"Builder optimization level {found['level']}: a plan of TensorRT's own level can be faster."
    yield "`tune` is described in [tune_tensorrt.md](tune_tensorrt.md), costs in [cost.md](cost.md#on-a-gpu)."
    yield ""
    for place, versions in found["versions"].items():
        yield f"- the Python with {place}: {', '.join(f'{name} {number}' for name, number in versions.items())}"
    yield ""


def _others(cells: Sequence[Cell]) -> Iterator[str]:
    yield from ("## Beside the others", "")
    yield "Milliseconds on the GPU, each launched as a CUDA graph. *Best/ours*: the fastest of the others over the"
    yield "faster one of ours; below 1 ours is slower. - was not timed."
    yield ""
    shown = [cell for cell in cells if not _of_integers(cell) and (cell.ours is not None or cell.rival is not None)]
    yield from table(
        "case | batch | ours, as it is | ours, tuned | plain TensorRT | PyTorch eager | torch.compile | best/ours",
        map(_beside, shown),
    )
    yield ""


def _beside(cell: Cell) -> tuple[object, ...]:
    numbers = (ms_text(cell.ms.get((what, HALF))) for what in (AS_IT_IS, TUNED, PLAIN, EAGER, COMPILED))
    factor = f"{cell.rival[1] / cell.ours:.2f}" if cell.ours and cell.rival else "-"
    return f"`{cell.case}`", cell.batch, *numbers, f"**{factor}**" if cell.is_slower else factor


def _bounds(cells: Sequence[Cell]) -> Iterator[str]:
    rows = [cell for cell in cells if cell.times_least is not None]
    if not rows:
        return
    yield from ("## Beside bytes over bandwidth", "")
    yield "*Least*: inputs, outputs and weights of the graph, each once, over the bandwidth of copies in the same run;"
    yield "the input of a block twice, since its gate is not known before all of it is read."
    yield f"The aim for a block at batch {WIDE_BATCH} is at most {BOUND} times that."
    yield ""
    yield from table(
        "case | batch | on the GPU, ms | least, ms | x | GB/s | layers, ms | only layout or type, ms", map(_bound, rows)
    )
    yield ""


def _bound(cell: Cell) -> tuple[object, ...]:
    cost = cell.costs[HALF]
    model, factor = cost["model"], f"{cell.times_least:.2f}"
    layout = sum(one["ms"] or 0.0 for one in model["layers"] if one["kind"] in LAYOUT)
    return (
        f"`{cell.case}`",
        cell.batch,
        ms_text(model["timing"]["latency"]["median_ms"]),
        ms_text(cell.least_ms),
        f"**{factor}**" if cell.is_beyond_bound else factor,
        f"{cost['rates']['bytes_per_s'] / 1e9:.0f}",
        ms_text(model["layers_ms"]),
        ms_text(layout),
    )


def _integers(cells: Sequence[Cell]) -> Iterator[str]:
    rows = [cell for cell in cells if _of_integers(cell)]
    if not rows:
        return
    yield from ("## 8 bits beside float16", "")
    yield "Timed in the same turns. int8 takes and gives float32, since all that it does not quantise is in float32."
    yield ""
    yield from table(
        "case | batch | fp16 | int8-fp16 | int8-fp16, tuned | int8 | fp16 over the fastest one", map(_beside_half, rows)
    )
    yield ""


def _beside_half(cell: Cell) -> tuple[object, ...]:
    half, integers = cell.ms.get((AS_IT_IS, HALF)), _of_integers(cell)
    fastest = min(integers.values())
    factor = f"{half / fastest:.2f}" if half else "-"
    placed, plain = tune_work.INTEGERS
    shown = (integers.get(one) for one in ((AS_IT_IS, placed), (TUNED, placed), (AS_IT_IS, plain)))
    numbers = map(ms_text, (half, *shown))
    return f"`{cell.case}`", cell.batch, *numbers, f"**{factor}**" if half and half < fastest else factor


def _of_integers(cell: Cell) -> dict[tuple[str, str], float]:
    """Return the milliseconds of plans in 8 bits, by what each is and its precision."""
    return {key: ms for key, ms in cell.ms.items() if key[1] in tune_work.INTEGERS}


def _missed(cells: Sequence[Cell]) -> Iterator[str]:
    found = [(cell, precision, why) for cell in cells for precision, why in _misses(cell)]
    yield from ("## Where an aim was missed, and by which kernels", "")
    if not found:
        yield from ("No aim was missed in what was reached.", "")
        return
    yield f"The {SLOWEST} layers that take longest. *Least*: what the layer reads and writes over bandwidth."
    yield ""
    yield from table(
        "case | batch | aim | layer | type | kernel | precision | ms | least, ms | why",
        (cells for miss in found for cells in _slow_layers(*miss)),
    )
    yield ""


def _slow_layers(cell: Cell, precision: str, aim: str) -> Iterator[tuple[object, ...]]:
    cost = cell.costs.get(precision)
    if cost is None:
        yield f"`{cell.case}`", cell.batch, aim, "its layers were not timed", *["-"] * 6
        return
    layers = sorted((one for one in cost["model"]["layers"] if one["ms"]), key=lambda one: -one["ms"])
    for layer in layers[:SLOWEST]:
        names = (layer["name"], layer["kind"], layer["kernel"], layer["precision"])
        numbers = (ms_text(layer["ms"]), ms_text(layer["least_ms"]))
        why = reason(layer, cost["rates"]["launch_ms"])
        yield f"`{cell.case}`", cell.batch, aim, *map(short, names), *numbers, why


def _misses(cell: Cell) -> Iterator[tuple[str, str]]:
    """Yield the precision of each plan that misses an aim, and the aim in words."""
    if cell.is_slower and cell.rival is not None:
        yield HALF, f"as fast as {cell.rival[0]}"
    if cell.is_beyond_bound:
        yield HALF, f"{BOUND} times its bytes"
    integers, half = _of_integers(cell), cell.ms.get((AS_IT_IS, HALF))
    if integers and half is not None and min(integers.values()) >= half:
        yield min(integers, key=lambda key: integers[key])[1], "int8 faster than fp16"


def reason(layer: Mapping[str, Any], launch_ms: float) -> str:
    """Return why a layer takes its time, as far as its type, its bytes and its time say it."""
    if layer["kind"] in LAYOUT:
        return "only changes layout or type"
    if layer["ms"] <= 2 * launch_ms:
        return "little but its launch"
    if not layer["least_ms"]:
        return "its bytes are unknown"
    times = layer["ms"] / layer["least_ms"]
    return "its bytes take that long" if times <= BOUND else f"{times:.1f} times its bytes: computing, or the kernel"


def _trials(cells: Sequence[Cell]) -> Iterator[str]:
    for cell in cells:
        tried = cell.trials
        if not tried:
            continue
        yield from (f"## Candidates of {cell.case} at batch {cell.batch}", "")
        yield from _timed(tried.get("trials", ()))
        chosen = ", ".join(tried.get("chosen", ()))
        if chosen:
            yield from (f"Chosen: {chosen}.", "")
        elif "chosen" in tried:
            yield from ("None is faster beyond doubt as a whole: the graph stays as it is.", "")
        seconds = [build["seconds"] for build in tried.get("builds", ()) if "seconds" in build]
        if seconds:
            yield from (f"Builds took {min(seconds):.0f} to {max(seconds):.0f} s, others beside them.", "")
        reasons = tried.get("not_tried", {})
        yield from [f"- not tried, {form}: {' '.join(why.split())[:300]}" for form, why in reasons.items()]
        yield from [""] if reasons else []


def _timed(trials: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    if not trials:
        return
    yield from table("place | rewrite | nodes | before, ms | difference | interval |", map(_trial, trials))
    yield ""


def _trial(trial: Mapping[str, Any]) -> tuple[object, ...]:
    difference = trial["difference"]
    interval = f"{difference['low_ms']:+.4f} to {difference['high_ms']:+.4f}"
    outcome = "kept" if trial["kept"] else ("faster" if difference["high_ms"] < 0 else "")
    numbers = (f"{trial['before_ms']:.4f}", f"{difference['ms']:+.4f}", interval)
    return trial["kind"], trial["form"], trial["count"], *numbers, outcome


def _left_out(found: Mapping[str, Any]) -> Iterator[str]:
    failed = {row["step"]: row.get("why", "") for row in found["rows"] if row["status"] == "failed"}
    wrong = {
        f"{row['step']}, {one['what']} {one['precision']}": one["why"]
        for row in found["rows"]
        for one in row.get("timing", ())
        if one["why"]
    }
    if failed or wrong:
        yield from ("## What did not work", "")
        yield from [f"- `{name}`: {' '.join(why.split())[:300]}" for name, why in {**failed, **wrong}.items()]
        yield ""
    if found["not_reached"]:
        yield from (f"## Not reached in {found['minutes']:g} minutes", "")
        for why, names in by_reason(found["not_reached"]).items():
            yield f"- {' '.join(why.split())[:300]}: {', '.join(f'`{name}`' for name in names)}"


def main() -> int:
    """Write the page; returns the exit code."""
    found = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else None
    PAGE.write_text(page(found), encoding="utf-8")
    return 0


if __name__ == "__main__":
    from gpu_check import start

    start(main)
