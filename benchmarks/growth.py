"""Measure how time and memory grow with network and image, beside the bare path: a table and a plot in the docs.

Usage: python benchmarks/growth.py. Every row is one target through the bare path and through the whole deploy
(bare_path.py). Writes benchmarks/results/growth.json, docs/growth.md and docs/growth.svg after the last; takes about
ten minutes.
"""

from __future__ import annotations

import argparse
import math
import statistics
import sys
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Any

from bare_path import BOTH, both, cells, described
from page_text import generated, table
from stored_results import store

ROOT = Path(__file__).parent.parent
RESULTS, PAGE, PLOT = (ROOT / name for name in ("benchmarks/results/growth.json", "docs/growth.md", "docs/growth.svg"))
SHAPE = "2x3x224x224"
# deeper ones have more nodes, wide ones more parameters in as many
NETWORKS = ("resnet18+se", "resnet50+se", "wide_resnet50_2+se", "resnet101+se")
TARGET, SIDES = "resnet50+cbam", (64, 224, 448)
BARE, OURS = "#9aa5b1", "#2f6690"


def exponent(rows: Sequence[dict[str, Any]], over: str, key: str) -> float:
    """Return the power of ``over`` with which ``key`` grows: the slope of the line that fits their logarithms best."""
    xs, ys = ([math.log(row[name]) for row in rows] for name in (over, key))
    return statistics.linear_regression(xs, ys).slope


def page(document: dict[str, Any]) -> str:
    """The docs page."""
    networks, images = document["networks"], document["images"]
    lines = [
        "# How the pipeline grows",
        "",
        generated("python benchmarks/growth.py", document),
        "",
        "The whole `attn2trt deploy`, imports and verdict included, beside `torch.onnx.export`, onnxsim and one ONNX",
        "Runtime run without any check; each in a fresh process. The bundle has one size, and the verdict compares",
        "several cases at it in float64. *Nodes* are those of the simplified graph of the bare path.",
        "",
        "![Seconds and MiB over parameters and over pixels, the bare path and attn2trt](growth.svg)",
        "",
        "## With the network",
        "",
        f"At {SHAPE}.",
        "",
        *table(
            f"target | parameters | nodes | {BOTH}",
            ((f"`{row['target']}`", f"{row['parameters'] / 1e6:.1f} M", row["nodes"], *cells(row)) for row in networks),
        ),
        "",
        growth(networks, "parameters", "parameters"),
        "",
        "## With the image",
        "",
        f"`{TARGET}`, a batch of 2.",
        "",
        *table(f"image | {BOTH}", ((row["shape"], *cells(row)) for row in images)),
        "",
        growth(images, "pixels", "pixels"),
    ]
    return "\n".join(lines) + "\n"


def growth(rows: Sequence[dict[str, Any]], over: str, named: str) -> str:
    """The exponents as a sentence."""
    seconds, mib = (
        [f"{exponent(rows, over, f'{path}_{key}'):.2f}" for path in ("bare", "deploy")]
        for key in ("seconds", "peak_mib")
    )
    return (
        f"The time of the bare path grows as the {seconds[0]}th power of the {named}, ours as the {seconds[1]}th;\n"
        f"its memory as the {mib[0]}th, ours as the {mib[1]}th."
    )


def plot(document: dict[str, Any]) -> None:
    """Four panels: seconds and MiB over parameters and over pixels."""
    import matplotlib

    matplotlib.use("Agg")
    # names of elements that do not change from run to run
    matplotlib.rcParams["svg.hashsalt"] = "growth"
    from matplotlib import pyplot

    figure, panels = pyplot.subplots(2, 2, figsize=(9, 6), sharex="col")
    columns = (("networks", "parameters", 1e6, "million parameters"), ("images", "pixels", 1e3, "thousand pixels"))
    for column, (series, over, unit, label) in enumerate(columns):
        rows = sorted(document[series], key=lambda row: row[over])
        for panel, (key, what) in zip(panels[:, column], (("seconds", "s"), ("peak_mib", "MiB")), strict=True):
            for path, name, colour in (("bare", "bare path", BARE), ("deploy", "attn2trt deploy", OURS)):
                panel.plot(
                    [row[over] / unit for row in rows],
                    [row[f"{path}_{key}"] for row in rows],
                    marker="o",
                    color=colour,
                    label=name,
                )
            panel.set_ylim(0, 1.08 * panel.dataLim.ymax)  # a marker at the top is drawn whole
            panel.set_ylabel(what)
            panel.grid(alpha=0.3)
        panels[1, column].set_xlabel(label)
        panels[1, column].set_xlim(left=0)
    panels[0, 0].set_title(f"ResNets with squeeze-and-excitation, {SHAPE}", fontsize=10)
    panels[0, 1].set_title(f"{TARGET}, a batch of 2", fontsize=10)
    panels[0, 0].legend(frameon=False)
    figure.tight_layout()
    figure.savefig(PLOT, metadata={"Date": None})


def main() -> int:
    """Measure, print, and keep the result."""
    document: dict[str, Any] = {"date": date.today().isoformat(), **described(), "networks": [], "images": []}
    for target in NETWORKS:
        document["networks"].append(both(target, SHAPE))
        print(target, *cells(document["networks"][-1]), sep="  ", flush=True)
    for side in SIDES:
        row = {**both(TARGET, f"2x3x{side}x{side}"), "pixels": side * side}
        document["images"].append(row)
        print(row["shape"], *cells(row), sep="  ", flush=True)
    store(document, RESULTS, PAGE, page(document))
    plot(document)
    return 0


if __name__ == "__main__":
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    sys.exit(main())
