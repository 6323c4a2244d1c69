"""Time six blocks at four shapes in every runtime of this machine, and write the docs' table.

Usage: python benchmarks/blocks.py [--block NAME] [--shape SHAPE] [--among] [--seconds S]. Every cell is one run of
`attn2trt deploy`, `tune` and `benchmark`; a block whose verdict fails ends the run. Writes
benchmarks/results/blocks.json and docs/benchmark.md after every cell, and takes up an interrupted run of the same
code, versions and machine; a cell that was disturbed by other processes is measured again. With --block or
--shape it prints rows and writes nothing; with --among as well it puts them in the place of the ones that are there,
and keeps the others, whatever code they were measured with.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import tempfile
from collections.abc import Iterable, Sequence
from datetime import date
from pathlib import Path
from typing import Any

from code_hash import code_hash, of_several_versions
from commands import run, run_json

from attn2trt.core.bundle import MODEL
from attn2trt.core.traffic import traffic
from attn2trt.engines.roofline import Limit, Rates
from attn2trt.engines.timing import machine
from attn2trt.engines.timing.core_latency import CoreDistance
from attn2trt.engines.timing.latency import CV_LIMIT
from attn2trt.engines.timing.paired import times_as_long

ROOT = Path(__file__).parent.parent
RESULTS, PAGE = ROOT / "benchmarks/results/blocks.json", ROOT / "docs/benchmark.md"
BLOCKS = ("se", "cbam", "eca", "coord_att", "gam", "psa")
SHAPES = ("1x64x112x112", "1x256x56x56", "8x512x28x28", "4x1024x14x14")
ROOMS = ("core", "modules", "export", "engines")
OURS, TUNED, PLAIN = "ort-cpu", "ort-cpu-tuned", "ort-cpu-plain-export"
EAGER, COMPILE = "pytorch-eager", "pytorch-compile"
OTHERS = (PLAIN, EAGER, COMPILE)
# below this the fastest of the others is faster beyond what runs differ by
SLOWER = 0.95
# a tuned graph that holds so many times as much memory is reported
MORE_MEMORY = 1.25
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
    found: dict[str, Any] = run_json("cost", BLOCKS[0], "--shape", SHAPES[0], "--seconds", str(seconds))["rates"]
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
    }


def speed_ups(runtimes: dict[str, Any]) -> dict[str, float]:
    """Return the latency of each of the others over ours, and the best of them: above 1 ours is faster.

    Ours is the tuned graph if tuning wrote one, which it does only if that is faster.
    """
    rounds = {name: found["round_medians_ms"] for name, found in runtimes.items() if "median_ms" in found}
    ours = rounds.get(TUNED, rounds.get(OURS))
    others = {name: rounds[name] for name in OTHERS if name in rounds}
    if ours is None or not others:
        return {}
    times = {name: times_as_long(ours, found) for name, found in others.items()}
    return {"best": min(times.values()), **times}


def geometric_mean(values: Iterable[float]) -> float | None:
    """Return the geometric mean of positive numbers; None without any."""
    logarithms = [math.log(value) for value in values]
    return math.exp(sum(logarithms) / len(logarithms)) if logarithms else None


def disturbed(row: dict[str, Any]) -> bool:
    """Return True if something else ran meanwhile, or the cores were far from each other most of the time."""
    distance = distance_of(row)
    return busy_cores(row) > 0 or (distance is not None and distance.kept)


def page(document: dict[str, Any]) -> str:
    """The docs page: one row per block and shape, then the geometric means."""
    rows = document["rows"]
    described, versions, method = (rows[0][key] for key in ("machine", "versions", "method"))
    lines = [
        "# Blocks, shapes and runtimes",
        "",
        f"Generated by `python benchmarks/blocks.py` on {document['date']} ({described['cpu']},",
        f"{rows[0]['threads']} threads, {', '.join(f'{name} {number}' for name, number in versions.items())}).",
        "",
        "Median latency in milliseconds, float32, on the CPU, all runtimes of a row in turn in one run.",
        f"Each has at least {method['seconds']:g} s",
        f"and {method['iterations']} calls, or {method['max_seconds']:g} s, in {method['rounds']} rounds.",
        "[timing.md](timing.md) says how.",
        "*Tuned*: the graph that `attn2trt tune` made of ours, `-` if no rewrite was faster beyond doubt.",
        "*Speed-up*: how many times as long as ours the other takes, the median of the rounds' ratios; ours is the",
        "tuned graph if there is one. Above 1 ours is faster.",
        "*Best*: over the fastest of the others. *Limit*: what the block's bytes and operations take at the bandwidth",
        "and rate measured at the start of the run, everything fused ([cost.md](cost.md)). *Operators*: what they take",
        "one operator after the other, as ONNX Runtime runs them, nothing fused. Each then with ours over it. Both",
        "count the operations of the graph as it was exported: a rewrite with fewer multiplications can be below them.",
        "",
        "| block | shape | ours | tuned | plain export | eager | compile | speed-up: best | plain export | eager "
        "| limit | x | operators | x |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    lines += [f"| {' | '.join(cells(row))} |" for row in rows]
    lines += of_several_versions(rows)
    lines += ["", "## Geometric means of the speed-up", "", "| block | best | plain export | eager | least of best |"]
    lines += ["| --- | --- | --- | --- | --- |"]
    for name, chosen in groups(rows):
        means = [number(geometric_mean(values(chosen, key))) for key in ("best", PLAIN, EAGER)]
        lines.append(f"| {name} | {' | '.join(means)} | {number(min(values(chosen, 'best'), default=None))} |")
    lines += ["", *gains] if (gains := without_gain(rows)) else []
    notes = [f"- {note}" for note in [*summed_up(rows), *(remark for row in rows for remark in remarks(row))]]
    return "\n".join([*lines, *(["", "## Remarks", "", *notes] if notes else [])]) + "\n"


def without_gain(rows: Sequence[dict[str, Any]]) -> list[str]:
    """Return the blocks that no rewrite makes faster at any shape, and the rows with a clearly faster runtime."""
    tuned = {row["block"] for row in rows if row["runtimes"].get(TUNED, {}).get("status") == "measured"}
    alike = ", ".join(f"`{block}`" for block in BLOCKS if block not in tuned)
    found = [f"- {alike}: no exact way to write them was found that takes less time than the plain export."] * bool(
        alike
    )
    for row in rows:
        medians = {name: row["runtimes"].get(name, {}).get("median_ms", math.inf) for name in OTHERS}
        first = min(medians, key=lambda name: medians[name])
        ours = row["runtimes"].get(TUNED, row["runtimes"].get(OURS, {})).get("median_ms", math.inf)
        if first != PLAIN and row["speed_up"].get("best", math.inf) < SLOWER:
            found.append(
                f"- `{row['block']}` at {row['shape']}: {first} takes {medians[first]:.2f} ms, ours "
                f"{ours:.2f} ms. ONNX Runtime fuses nothing here; its operators, "
                f"one after the other, need {row['limit']['operators_ms']:.2f} ms."
            )
    return ["## Blocks that gain nothing", "", *found] if found else []


def cells(row: dict[str, Any]) -> list[str]:
    """One row of the table."""
    medians = {name: found["median_ms"] for name, found in row["runtimes"].items() if "median_ms" in found}
    shown = [number(medians.get(name), 3) for name in (OURS, TUNED, *OTHERS)]
    ratios = [number(row["speed_up"].get(key)) for key in ("best", PLAIN, EAGER)]
    ours = medians.get(TUNED, medians.get(OURS))
    limits = []
    for key in ("least_ms", "operators_ms"):
        limit = row["limit"][key]
        limits += [number(limit, 3), number(None if ours is None else ours / limit, 1)]
    return [f"`{row['block']}`", row["shape"], *shown, *ratios, *limits]


def groups(rows: Sequence[dict[str, Any]]) -> list[tuple[str, list[dict[str, Any]]]]:
    """The rows of each block, then all."""
    found = [(f"`{block}`", [row for row in rows if row["block"] == block]) for block in BLOCKS]
    return [*((name, chosen) for name, chosen in found if chosen), ("all", list(rows))]


def values(rows: Sequence[dict[str, Any]], key: str) -> list[float]:
    """One kind of speed-up of every row that has it."""
    return [row["speed_up"][key] for row in rows if key in row["speed_up"]]


def remarks(row: dict[str, Any]) -> list[str]:
    """Return what makes a row doubtful or incomplete."""
    where = f"`{row['block']}` at {row['shape']}"
    found = [
        f"{where}: {name} {entry['status']}: {entry['why']}"
        for name, entry in row["runtimes"].items()
        if entry["status"] != "measured"
    ]
    ours, tuned = (row["runtimes"].get(name, {}).get("peak_mib") for name in (OURS, TUNED))
    if ours and tuned and tuned > MORE_MEMORY * ours:
        found.append(f"{where}: tuned holds {tuned:.0f} MiB, {OURS} {ours:.0f} MiB")
    if busy := busy_cores(row):
        found.append(f"{where}: {busy:.1f} cores were busy with something else")
    distance = distance_of(row)
    if distance is not None and distance.kept:
        found.append(f"{where}: the processors were {distance.words}")
    return found


def summed_up(rows: Sequence[dict[str, Any]]) -> list[str]:
    """Return what holds for many rows: latencies that vary, and rounds that were left out."""
    found = []
    varying = [entry["cv"] for row in rows for entry in row["runtimes"].values() if entry.get("cv")]
    unsteady = sum(cv > CV_LIMIT for cv in varying)
    if unsteady:
        found.append(
            f"The latency of single calls varies by more than 2.5 % in {unsteady} of {len(varying)} measurements."
        )
    every = [distance for row in rows if (distance := distance_of(row)) is not None]
    left_out = sum(distance.distant for distance in every if not distance.kept)
    if left_out:
        count = sum(distance.rounds for distance in every)
        found.append(
            f"In {left_out} of {count} rounds the host had moved the processors to distant cores; these were left out."
        )
    return found


def busy_cores(row: dict[str, Any]) -> float:
    """Return how many cores others took, 0 if these are so few that they look like the system's own work."""
    found = (row["conditions"] or {}).get("other_cores") or 0.0
    return float(found) if found > machine.BUSY_CORES else 0.0


def distance_of(row: dict[str, Any]) -> CoreDistance | None:
    """Return the distance of the cores, or None if it was not measured."""
    return CoreDistance.from_json(row["conditions"] or {})


def remarks_of(row: dict[str, Any]) -> list[str]:
    """Return all remarks on one row, for the terminal."""
    return [*remarks(row), *summed_up([row])]


def number(value: float | None, digits: int = 2) -> str:
    """Return the digits, or a dash without a value."""
    return "-" if value is None else f"{value:.{digits}f}"


def kept(key: str, seconds: float) -> list[dict[str, Any]]:
    """The undisturbed rows of an earlier run of the same code, versions, machine and method."""
    if not RESULTS.exists():
        return []
    before = json.loads(RESULTS.read_text())
    here = (machine.describe(), dict(machine.installed_versions()), seconds)
    return [
        row
        for row in before["rows"]
        if row["sources"] == key
        and (row["machine"], row["versions"], row["method"]["seconds"]) == here
        and not disturbed(row)
    ]


def main(blocks: Sequence[str], shapes: Sequence[str], seconds: float, *, among: bool = False) -> int:
    """Measure every cell that is asked for; all of them if nothing is. ``among`` writes them among the others."""
    partial = bool(blocks or shapes)
    order = [(block, shape) for block in blocks or BLOCKS for shape in shapes or SHAPES]
    every = [(block, shape) for block in BLOCKS for shape in SHAPES]
    key = code_hash(ROOMS)
    found = kept(key, seconds) if not partial else json.loads(RESULTS.read_text())["rows"] if among else []
    rows = {(row["block"], row["shape"]): row for row in found}
    wanted = [cell for cell in order if partial or cell not in rows]
    rates = measured_rates(seconds) if wanted else {}
    for place, (block, shape) in enumerate(order, 1):
        if (block, shape) in wanted:
            rows[block, shape] = {**measure(block, shape, seconds, rates), "sources": key}
        done = [rows[cell] for cell in every if cell in rows]
        print(
            f"{place}/{len(order)}", *cells(rows[block, shape]), *remarks_of(rows[block, shape]), sep="  ", flush=True
        )
        if among or not partial:
            document = {"date": date.today().isoformat(), "sources": key, "rows": done}
            RESULTS.write_text(json.dumps(document, indent=1) + "\n")
            PAGE.write_text(page(document))
    return 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--block", action="append", default=[], help="only this one, printed and not written")
    parser.add_argument("--shape", action="append", default=[], help="only this one, printed and not written")
    parser.add_argument("--among", action="store_true", help="write these among the rows that are there")
    parser.add_argument("--seconds", type=float, default=3.0, help="shortest time for each runtime (default 3)")
    options = parser.parse_args()
    sys.exit(main(options.block, options.shape, options.seconds, among=options.among))
