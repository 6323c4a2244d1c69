"""Measure time and memory of the commands beside the bare path, each in its own process, in turn, in one run.

Usage: python benchmarks/pipeline.py [TARGET] [--rounds N] [--short]. TARGET (default resnet50+cbam) is timed in parts;
then come six blocks in one call, an unchanged bundle again, and --help, and targets from all over the catalogue once
each, all of which --short leaves out: it prints and writes nothing. Writes benchmarks/results/pipeline.json after every
part and takes up an interrupted run of the same code, versions and machine; docs/pipeline.md at the end.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from datetime import date
from pathlib import Path
from typing import Any

from bare_path import BARE, BOTH, OURS, both, cells, described, run
from code_hash import code_hash
from commands import run as command
from page_text import generated, table

RATIOS = {
    "time_ratio": "export, bundle and contract over the bare path: time",
    "memory_ratio": "the whole deploy over the bare path: peak memory",
    "time_ratio_without_build": "the same times without imports and building the module, which both have",
    "verdict_ratio": "references and verdict over the bare path without imports and building: time",
    "verdict_to_export_ratio": "references and verdict over `torch.onnx.export` alone: time",
    "deploy_ratio": "the whole deploy, verdict included, over the bare path: time",
}
ROOT = Path(__file__).parent.parent
RESULTS, PAGE = ROOT / "benchmarks/results/pipeline.json", ROOT / "docs/pipeline.md"
BLOCKS = ("se", "cbam", "eca", "coord_att", "gam", "psa")
# blocks alone, then one of each kind of backbone, light and deep, with different blocks in it
CATALOGUE = (
    *BLOCKS,
    *("resnet18+se", "resnet50+gam:groups=4", "resnet50+psa", "mobilenetv1_100+eca", "mobilenetv2_100+coord_att"),
    *("mobilenext_100+coord_att", "efficientnet_b0+cbam", "bn_inception+se", "epsanet50"),
)
REPEATS = 5
ROOMS = ("core", "modules", "export", "engines", "validate", "cli")


def timed_in_parts(target: str) -> tuple[dict[str, float], dict[str, Any]]:
    """One round of the bare path and the whole deploy: the numbers, and the seconds of each of our stages."""
    bare, ours = run(BARE, target), run(OURS, target)
    parts = ours.printed
    judging = parts["reference"] + parts["verdict"]
    numbers = {
        "bare_seconds": bare.seconds,
        "export_seconds": ours.seconds - judging,
        "reference_and_verdict_seconds": judging,
        "bare_seconds_without_build": bare.seconds - bare.printed["build"],
        "bare_torch_onnx_export_seconds": bare.printed["export"],
        "export_seconds_without_build": ours.seconds - judging - parts["resolve"] - parts["build"],
        "bare_peak_mib": bare.peak_mib,
        "deploy_peak_mib": ours.peak_mib,
    }
    return numbers, parts


def ratios(medians: dict[str, float]) -> dict[str, float]:
    """RATIOS of the medians over the rounds."""
    judging, bare = medians["reference_and_verdict_seconds"], medians["bare_seconds"]
    return {
        "time_ratio": medians["export_seconds"] / bare,
        "time_ratio_without_build": medians["export_seconds_without_build"] / medians["bare_seconds_without_build"],
        # what judging costs, over the bare path and over torch.onnx.export alone
        "verdict_ratio": judging / medians["bare_seconds_without_build"],
        "verdict_to_export_ratio": judging / medians["bare_torch_onnx_export_seconds"],
        "deploy_ratio": (medians["export_seconds"] + judging) / bare,
        "memory_ratio": medians["deploy_peak_mib"] / medians["bare_peak_mib"],
    }


def seconds_of(*words: str, folder: Path | None = None) -> float:
    """Wall seconds of a command, run in ``folder``."""
    since = time.perf_counter()
    command(*words, folder=folder)
    return time.perf_counter() - since


def commands(target: str) -> dict[str, Any]:
    """Seconds of whole commands: six blocks in one call beside each alone, an unchanged bundle again, and --help."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        together = seconds_of("deploy", *BLOCKS, folder=folder)
        alone = {block: seconds_of("deploy", block, "-o", str(folder / block)) for block in BLOCKS}
        again = ["deploy", target, "-o", str(folder / "again")]
        seconds_of(*again)
        unchanged = statistics.median(seconds_of(*again) for _ in range(REPEATS))
    slowest = sum(sorted(alone.values())[-2:])
    return {
        "together_seconds": together,
        "alone_seconds": alone,
        "together_over_the_slowest_two": together / slowest,
        "unchanged_seconds": unchanged,
        "help_seconds": statistics.median(seconds_of("--help") for _ in range(REPEATS)),
    }


def page(document: dict[str, Any]) -> str:
    """The docs page."""
    medians = document["medians"]
    took = [f"{medians[key]:.1f} s" for key in ("bare_seconds", "export_seconds", "reference_and_verdict_seconds")]
    memory = [f"{medians[key]:.0f} MiB" for key in ("bare_peak_mib", "deploy_peak_mib")]
    lines = [
        "# What the pipeline costs",
        "",
        generated(f"python benchmarks/pipeline.py --rounds {len(document['rounds'])}", document),
        "",
        f"`attn2trt deploy {document['target']} --dynamic none` beside the bare path: `torch.onnx.export`, onnxsim",
        "and one ONNX Runtime run, without any check. Each in a fresh process, in turn; medians.",
        "",
        *table("ratio |", ((words, f"{document[key]:.2f}") for key, words in RATIOS.items())),
        "",
        *table(
            "| bare path | attn2trt",
            [
                ("imports, building, export, simplifying", *took[:2]),
                ("float64 references and verdict", "-", took[2]),
                ("peak memory", *memory),
            ],
        ),
        "",
        "## Over the catalogue",
        "",
        "The whole deploy, imports and verdict included, beside the whole bare path, once each. [growth.md](growth.md)",
        "tells how both grow with the network and with the image.",
        "",
        *catalogue_table(document["catalogue"]),
        "",
        "## Whole commands",
        "",
        *command_table(document["target"], document["commands"]),
    ]
    return "\n".join(lines) + "\n"


def catalogue_table(rows: list[dict[str, Any]]) -> list[str]:
    """One line for each target, and the geometric mean of the ratios."""
    means = (statistics.geometric_mean(row[key] for row in rows) for key in ("deploy_ratio", "memory_ratio"))
    mean = ["geometric mean", *(cell for ratio in means for cell in ("", "", f"{ratio:.2f}"))]
    return [*table(f"target | {BOTH}", [*((f"`{row['target']}`", *cells(row)) for row in rows), mean])]


def command_table(target: str, found: dict[str, Any]) -> list[str]:
    """Return what whole commands take, as a user sees it."""
    alone = ", ".join(f"{block} {seconds:.1f}" for block, seconds in found["alone_seconds"].items())
    together = (
        f"{found['together_seconds']:.1f}, which is {found['together_over_the_slowest_two']:.2f} times what the "
        "slowest two take alone, one after the other"
    )
    rows = [
        (f"`attn2trt deploy {' '.join(BLOCKS)}`, six targets in one call", together),
        ("each of them alone", alone),
        (f"`attn2trt deploy {target}`, with a bundle there and nothing changed", f"{found['unchanged_seconds']:.2f}"),
        ("`attn2trt --help`", f"{found['help_seconds']:.2f}"),
    ]
    return [*table("command | seconds", rows)]


def main() -> None:
    """Measure, print, and keep the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("target", nargs="?", default="resnet50+cbam")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--short", action="store_true", help="only TARGET, printed and not written")
    arguments = parser.parse_args()
    same = {"target": arguments.target, "sources": code_hash(ROOMS), **described()}
    document = {} if arguments.short else taken_up(same, arguments.rounds)
    if not document:
        rounds = [timed_in_parts(arguments.target) for _ in range(arguments.rounds)]
        medians = {key: statistics.median(numbers[key] for numbers, _ in rounds) for key in rounds[0][0]}
        document = {
            **same,
            "date": date.today().isoformat(),
            "rounds": [{**numbers, "stages": parts} for numbers, parts in rounds],
            "medians": medians,
            **ratios(medians),
        }
    print(json.dumps({key: document[key] for key in ("target", "medians", *RATIOS)}, indent=1), flush=True)
    if arguments.short:
        return
    store(document)
    if "commands" not in document:
        document["commands"] = commands(arguments.target)
        store(document)
    print(*command_table(arguments.target, document["commands"]), sep="\n", flush=True)
    rows = document.setdefault("catalogue", [])
    for target in CATALOGUE[len(rows) :]:
        rows.append(both(target))
        print(catalogue_table(rows)[-2], flush=True)
        store(document)
    PAGE.write_text(page(document))


def taken_up(same: dict[str, Any], rounds: int) -> dict[str, Any]:
    """Return what an interrupted run of the same code on the same machine has stored; nothing without such a run."""
    stored = json.loads(RESULTS.read_text()) if RESULTS.is_file() else {}
    is_whole = len(stored.get("catalogue", ())) == len(CATALOGUE)
    is_same = all(stored.get(key) == value for key, value in same.items()) and len(stored["rounds"]) == rounds
    return stored if is_same and not is_whole else {}


def store(document: dict[str, Any]) -> None:
    """Keep what there is so far."""
    RESULTS.write_text(json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    main()
