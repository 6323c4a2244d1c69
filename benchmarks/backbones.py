"""Measure each core block in resnet50 and in mobilenetv2_100, beside its limit, with the reasons; the docs' table.

Usage: python benchmarks/backbones.py [--among] [TARGET ...]. Every row is one run of `attn2trt cost` and, for what
rewrites of the graph make of it, of `deploy` and `tune`. Writes benchmarks/results/backbones.json and
docs/backbones.md after every row, and takes up an interrupted run of the same code, versions and machine.
With TARGETs it prints their rows and writes nothing; with --among as well it puts them in the place of the ones that
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
from typing import Any

from code_hash import code_hash, of_several_versions
from commands import run, run_json
from page_text import generated, table
from stored_results import store

from attn2trt.engines.timing import machine

ROOT = Path(__file__).parent.parent
RESULTS, PAGE = ROOT / "benchmarks/results/backbones.json", ROOT / "docs/backbones.md"
ROOMS = ("core", "modules", "export", "engines")
SHAPE = "1x3x224x224"
BLOCKS = ("se", "cbam", "eca", "coord_att")
# psa stands in place of a bottleneck's 3x3 convolution, and mobilenetv2_100 has none that is not depthwise
TARGETS = (
    *(f"resnet50+{block}" for block in BLOCKS),
    *(f"mobilenetv2_100+{block}" for block in BLOCKS),
    *("resnet50+psa", "resnet50+gam:groups=4", "mobilenetv2_100+gam:groups=4"),
)
# A cost above this many times the roofline is given its reasons; one below this share of the excess is left out.
EXCESS, LEAST_SHARE = 1.5, 0.1


def measure(target: str) -> dict[str, Any]:
    """One run of the commands, and what the page needs of it."""
    found = run_json("cost", target, "--shape", SHAPE)
    with tempfile.TemporaryDirectory() as name:
        bundle = Path(name) / "bundle"
        run("deploy", target, "--shape", SHAPE, "--dynamic", "none", "-o", str(bundle))
        tuning = run_json("tune", str(bundle))["tuning"]
    return row_of(target, found, tuning)


def row_of(target: str, found: dict[str, Any], tuning: dict[str, Any]) -> dict[str, Any]:
    """The commands' documents as one row."""
    added, model = found["added"], found["model"]
    plain, total = added["plain"], added["profile"]["total"]
    return {
        "target": target,
        "threads": found["threads"],
        "machine": found["machine"],
        "versions": found["versions"],
        "conditions": found["conditions"],
        "rates": found["rates"],
        "plain_ms": plain["timing"]["latency"]["median_ms"],
        "with_block_ms": model["timing"]["latency"]["median_ms"],
        "difference": added["difference"],
        "control": added["control"],
        "more_operations": model["limit"]["operations"] / plain["limit"]["operations"] - 1,
        "more_bytes": model["limit"]["bytes"] / plain["limit"]["bytes"] - 1,
        "fused_ms": added["blocks_least_ms"],
        "operators_ms": added["blocks_operators_ms"],
        "replaces": sorted({block["replaces"] for block in added["blocks"]} - {""}),
        "layouts_ms": total["layout_ms"] - total["plain_layout_ms"],
        "backbone_ms": total["rest_ms"] - (total["plain_ms"] - total["plain_layout_ms"]),
        "profile_ms": total["difference_ms"],
        "block_operators": added["profile"]["block_operators"],
        "forms": [trial for trial in tuning["trials"] if trial["kept"]],
        "tuned": tuning["difference"],
        "warnings": found["warnings"],
    }


def excess(row: dict[str, Any]) -> dict[str, float]:
    """Split the milliseconds above the fused limit; the sum is the measured difference less that limit."""
    parts = {
        "passes": row["operators_ms"] - row["fused_ms"],
        "layouts": row["layouts_ms"],
        "backbone": row["backbone_ms"],
        "unprofiled": row["difference"]["ms"] - row["profile_ms"],
    }
    parts |= {kind["kind"]: kind["ms"] - kind["limit_ms"] for kind in row["block_operators"]}
    # the blocks alone and the blocks in the model are counted at the same sizes, but not from the same graph
    total = row["difference"]["ms"] - row["fused_ms"]
    parts["unprofiled"] += total - sum(parts.values())
    return parts


def reasons(row: dict[str, Any]) -> str:
    """Return the parts of an excess in words, the largest first; "" without an excess."""
    if row["difference"]["low_ms"] <= EXCESS * row["fused_ms"]:
        return ""
    kinds = {kind["kind"]: kind for kind in row["block_operators"]}
    parts = excess(row)
    least = LEAST_SHARE * (row["difference"]["ms"] - row["fused_ms"])
    said = []
    for name, ms in sorted(parts.items(), key=lambda item: -item[1]):
        if ms < least:
            continue
        if name in kinds:
            count, took, limit = (kinds[name][key] for key in ("count", "ms", "limit_ms"))
            times = f", {took / limit:.1f} times" if limit else ""
            said.append(f"{count} {name} {ms:.2f} ms above their limit{times}")
        else:
            said.append(WORDS[name].format(ms=f"{ms:.2f} ms"))
    return "; ".join(said)


WORDS = {
    "passes": "{ms} because its operators pass over the map one after the other",
    "layouts": "{ms} for bringing tensors out of the layout of convolutions and back",
    "backbone": "{ms} more in the backbone's own operators, which were fused and now run one by one",
    "unprofiled": "{ms} that the profile does not show: between operators, and caches",
}


def page(document: dict[str, Any]) -> str:
    """The docs page: a row for each target, then the reasons."""
    rows = document["rows"]
    first = rows[0]
    origin = {"date": document["date"], "versions": first["versions"]}
    origin["machine"] = f"{first['machine']['cpu']}, {first['threads']} threads"
    lines = [
        "# Blocks in backbones",
        "",
        generated("python benchmarks/backbones.py", origin),
        "",
        f"Each backbone with a block beside the same without, {SHAPE}, float32, ONNX Runtime on the CPU, as",
        "`attn2trt cost` measures it ([cost.md](cost.md)). Medians of twelve rounds in turn, with the 96 % interval of",
        "the difference. *Share of*: what the block adds to latency, operations and bytes, over the plain backbone's.",
        "*Roofline*: what the bytes and operations of all blocks take at the rates of the same run, each block fused",
        "into one pass; *operators*: one operator after the other. *x*: the cost over the roofline. *Tuned*: what",
        "`attn2trt tune` changes in the whole network's latency ([tune.md](tune.md)); `-` if nothing is faster.",
        "",
        *table(
            "target | plain | with block | cost | share of latency | operations | bytes | roofline | operators | x "
            "| tuned",
            map(cells, rows),
        ),
        *of_several_versions(rows),
        "",
        f"## The time above {EXCESS} times the roofline",
        "",
        "Parts of less than a tenth of the excess are left out.",
        "",
        *(f"- `{row['target']}`: {found}." for row in rows if (found := reasons(row))),
    ]
    notes = [f"- `{row['target']}`: {note}." for row in rows for note in remarks(row)]
    return "\n".join([*lines, *(["", "## Remarks", "", *notes] if notes else [])]) + "\n"


def cells(row: dict[str, Any]) -> list[str]:
    """One row of the table."""
    cost, tuned = row["difference"], row["tuned"]
    return [
        f"`{row['target']}`",
        f"{row['plain_ms']:.2f} ms",
        f"{row['with_block_ms']:.2f} ms",
        interval(cost),
        f"{cost['ms'] / row['plain_ms']:+.1%}",
        f"{row['more_operations']:+.1%}",
        f"{row['more_bytes']:+.1%}",
        f"{row['fused_ms']:.2f} ms",
        f"{row['operators_ms']:.2f} ms",
        f"{cost['ms'] / row['fused_ms']:.1f}",
        "-" if tuned is None else interval(tuned),
    ]


def interval(found: dict[str, Any]) -> str:
    """A difference with what it lies between."""
    return f"{found['ms']:+.2f} ms ({found['low_ms']:+.2f} to {found['high_ms']:+.2f})"


def remarks(row: dict[str, Any]) -> list[str]:
    """Return what makes a row doubtful, or different from the others."""
    there = [f"stands in place of {', '.join(row['replaces'])}, whose cost is taken off"] if row["replaces"] else []
    return [*there, *row["warnings"]]


def kept(key: str) -> list[dict[str, Any]]:
    """The rows of an earlier run of the same code, versions and machine, which nothing disturbed."""
    if not RESULTS.exists():
        return []
    before = json.loads(RESULTS.read_text())
    here = (machine.describe(), dict(machine.installed_versions()))
    return [
        row
        for row in before["rows"]
        if row.get("sources", before["sources"]) == key
        and (row["machine"], row["versions"]) == here
        and not any("busy" in warning for warning in row["warnings"])
    ]


def main(targets: Sequence[str], *, among: bool = False) -> int:
    """Measure every target that is asked for; all of them if none is. ``among`` writes them among the others."""
    key = code_hash(ROOMS)
    found = kept(key) if not targets else json.loads(RESULTS.read_text())["rows"] if among else []
    rows = {row["target"]: row for row in found}
    order = targets or TARGETS
    for place, target in enumerate(order, 1):
        if targets or target not in rows:
            rows[target] = {**measure(target), "sources": key}
        row = rows[target]
        print(f"{place}/{len(order)}", *cells(row), reasons(row), *remarks(row), sep="  ", flush=True)
        if among or not targets:
            done = [rows[name] for name in TARGETS if name in rows]
            document = {"date": date.today().isoformat(), "sources": key, "rows": done}
            store(document, RESULTS, PAGE, page(document))
    return 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("targets", nargs="*", metavar="TARGET", help="only these, printed and not written")
    parser.add_argument("--among", action="store_true", help="write these among the rows that are there")
    options = parser.parse_args()
    sys.exit(main(options.targets, among=options.among))
