"""Time six blocks at four shapes in every runtime of this machine, and write the docs' table.

Usage: python benchmarks/blocks.py [--further] [--block NAME] [--shape SHAPE] [--among] [--seconds S]. Every cell is one
run of `attn2trt deploy`, `tune` and `benchmark`; a block whose verdict fails ends the run. Writes
benchmarks/results/blocks.json and docs/benchmark.md after every cell, and takes up an interrupted run of the same
code, versions and machine; a cell that was disturbed by other processes is measured again. --further measures two
blocks at eight shapes that were drawn, for which no rewrite was made, into benchmarks/results/blocks_further.json. With
--block or --shape it prints rows and writes nothing; with --among as well it puts them in the place of the ones that
are there, and keeps the others, whatever code they were measured with.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from blocks_page import BLOCKS, OTHERS, OURS, TUNED, cell_texts, disturbed, page, remarks_of
from code_hash import code_hash
from commands import run, run_json

from attn2trt.core.manifest import MODEL
from attn2trt.core.traffic import traffic
from attn2trt.engines.roofline import Limit, Rates
from attn2trt.engines.timing import machine
from attn2trt.engines.timing.paired import LEAST_DISTANT, times_as_long

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs/benchmark.md"


class Cells(NamedTuple):
    """Blocks and the shapes that they are timed at, and the file of the results."""

    blocks: tuple[str, ...]
    shapes: tuple[str, ...]
    results: Path


def drawn(count: int, seed: int) -> tuple[str, ...]:
    """Draw shapes of maps as networks have them: BATCHxCHANNELSxHEIGHTxWIDTH, 100,000 to 4,000,000 numbers each."""
    rng = np.random.default_rng(seed)
    found: list[str] = []
    while len(found) < count:
        batch, channels, side = int(rng.choice([1, 2, 4, 8])), 16 * int(rng.integers(2, 129)), int(rng.integers(7, 113))
        if 1e5 <= batch * channels * side * side <= 4e6:
            found.append(f"{batch}x{channels}x{side}x{side}")
    return tuple(found)


SIX = Cells(
    BLOCKS,
    ("1x64x112x112", "1x256x56x56", "8x512x28x28", "4x1024x14x14"),
    ROOT / "benchmarks/results/blocks.json",
)
FURTHER = Cells(("cbam", "coord_att"), drawn(8, seed=26), ROOT / "benchmarks/results/blocks_further.json")
ROOMS = ("core", "modules", "export", "engines")
LEAST_ROUNDS = {"round_medians_ms": 1, "distant_medians_ms": LEAST_DISTANT}
# short turns: what other guests of this machine do to its memory for a second or two hits every runtime alike
ROUNDS = 24


def measure(block: str, shape: str, seconds: float, rates: dict[str, Any]) -> dict[str, Any]:
    """One run of the commands, and what the page needs of it."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        bundle, out = folder / "bundle", folder / "latency.json"
        run("deploy", block, "--shape", shape, "--dynamic", "none", "-o", str(bundle))
        tuned = run_json("tune", str(bundle), "--seconds", str(seconds))
        runtimes = [runtime for runtime in (OURS, TUNED, *OTHERS) if runtime != TUNED or tuned["graph"] is not None]
        method = ("--seconds", str(seconds), "--rounds", str(ROUNDS))
        run("benchmark", str(bundle), *method, "--runtime", ",".join(runtimes), "-o", str(out))
        limit = limit_of(bundle / MODEL, Rates.from_json(rates))
        return row_of(block, shape, json.loads(out.read_text()), tuned["tuning"], limit)


def limit_of(graph: Path, rates: Rates) -> dict[str, float]:
    """The least milliseconds for a graph of one size: everything in it fused, and one operator after the other."""
    found = Limit.of(traffic(graph, {}), rates)
    return {"least_ms": found.least_ms, "operators_ms": found.operators_ms}


def measured_rates(seconds: float) -> dict[str, Any]:
    """Return the rates of this machine, as `attn2trt cost` measures them."""
    found: dict[str, Any] = run_json("cost", BLOCKS[0], "--shape", SIX.shapes[0], "--seconds", str(seconds))["rates"]
    return found


def row_of(
    block: str, shape: str, document: dict[str, Any], tuning: dict[str, Any], limit: dict[str, float]
) -> dict[str, Any]:
    """The commands' documents as one row."""
    runtimes = {}
    for found in document["rows"]:
        measured = found.get("measurement")
        if measured is None:
            runtimes[found["runtime"]] = {"status": found["status"], "why": found["why"]}
            continue
        latency = measured["latency"]
        runtimes[found["runtime"]] = {
            "status": "measured",
            **{key: latency[key] for key in ("median_ms", "p90_ms", "p99_ms", "cv", "iterations")},
            "hot_median_ms": measured["hot"]["median_ms"],
            "round_medians_ms": measured["round_medians_ms"],
            "distant_medians_ms": measured["distant_medians_ms"],
            "peak_mib": measured["peak_mib"],
            "inputs_mib": measured["inputs_mib"],
        }
    (batch,) = document["batches"]
    return {
        "block": block,
        "shape": shape,
        "threads": document["threads"],
        "machine": document["machine"],
        "versions": document["versions"],
        "method": document["method"],
        "conditions": batch["conditions"],
        "limit": limit,
        "forms": [trial for trial in tuning["trials"] if trial["kept"]],
        "runtimes": runtimes,
        "speed_up": speed_ups(runtimes),
        "distant_speed_up": speed_ups(runtimes, "distant_medians_ms"),
    }


def speed_ups(runtimes: dict[str, Any], key: str = "round_medians_ms") -> dict[str, float]:
    """Return the latency of each of the others over ours, and the best of them: above 1 ours is faster.

    Ours is the tuned graph if tuning wrote one, which it does only if that is faster. ``key`` are the rounds to
    compare; nothing is returned if they are too few.
    """
    rounds = {name: found[key] for name, found in runtimes.items() if len(found.get(key, ())) >= LEAST_ROUNDS[key]}
    ours = rounds.get(TUNED, rounds.get(OURS))
    others = {name: rounds[name] for name in OTHERS if name in rounds}
    if ours is None or not others:
        return {}
    times = {name: times_as_long(ours, found) for name, found in others.items()}
    return {"best": min(times.values()), **times}


def kept(results: Path, key: str, seconds: float) -> list[dict[str, Any]]:
    """The undisturbed rows of an earlier run of the same code, versions, machine and method."""
    here = (machine.describe(), dict(machine.installed_versions()), seconds)
    return [
        row
        for row in rows_of(results)
        if row["sources"] == key
        and (row["machine"], row["versions"], row["method"]["seconds"]) == here
        and not disturbed(row)
    ]


def rows_of(results: Path) -> list[dict[str, Any]]:
    """The rows of an earlier run; none without one."""
    found: list[dict[str, Any]] = json.loads(results.read_text())["rows"] if results.exists() else []
    return found


def write(cells: Cells, key: str, rows: Sequence[dict[str, Any]]) -> None:
    """Write the results of the cells, and the page of both files."""
    document = {"date": date.today().isoformat(), "sources": key, "rows": rows}
    cells.results.write_text(json.dumps(document, indent=1) + "\n")
    further = json.loads(FURTHER.results.read_text()) if FURTHER.results.exists() else None
    PAGE.write_text(page(json.loads(SIX.results.read_text()), further))


def main(cells: Cells, blocks: Sequence[str], shapes: Sequence[str], seconds: float, *, among: bool = False) -> int:
    """Measure every cell that is asked for; all of them if nothing is. ``among`` writes them among the others."""
    partial = bool(blocks or shapes)
    order = [(block, shape) for block in blocks or cells.blocks for shape in shapes or cells.shapes]
    every = [(block, shape) for block in cells.blocks for shape in cells.shapes]
    key = code_hash(ROOMS)
    found = kept(cells.results, key, seconds) if not partial else rows_of(cells.results) if among else []
    rows = {(row["block"], row["shape"]): row for row in found}
    wanted = [cell for cell in order if partial or cell not in rows]
    rates = measured_rates(seconds) if wanted else {}
    for place, (block, shape) in enumerate(order, 1):
        if (block, shape) in wanted:
            rows[block, shape] = {**measure(block, shape, seconds, rates), "sources": key}
        print(
            f"{place}/{len(order)}",
            *cell_texts(rows[block, shape]),
            *remarks_of(rows[block, shape]),
            sep="  ",
            flush=True,
        )
        if among or not partial:
            write(cells, key, [rows[cell] for cell in every if cell in rows])
    return 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--further", action="store_true", help="two blocks at eight shapes that were drawn")
    parser.add_argument("--block", action="append", default=[], help="only this one, printed and not written")
    parser.add_argument("--shape", action="append", default=[], help="only this one, printed and not written")
    parser.add_argument("--among", action="store_true", help="write these among the rows that are there")
    parser.add_argument("--seconds", type=float, default=3.0, help="shortest time for each runtime (default 3)")
    options = parser.parse_args()
    chosen = FURTHER if options.further else SIX
    unknown = {*options.block} - {*chosen.blocks} | {*options.shape} - {*chosen.shapes}
    if options.among and unknown:
        known = ", ".join([*chosen.blocks, *chosen.shapes])
        parser.error(f"received {', '.join(sorted(unknown))} with --among; expected some of {known}")
    sys.exit(main(chosen, options.block, options.shape, options.seconds, among=options.among))
