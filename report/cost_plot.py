"""What a block costs, as a picture: the sum beside its limits, and the backbone stage by stage."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ..engines.timing.costs import Cost
from ..errors import MissingRequirement
from .cost_summary import Line, summary

INSTALL = "pip install matplotlib"
MEASURED, LIMIT, PLAIN, LAYOUT, BLOCK = "#2f6690", "#9aa5b1", "#9aa5b1", "#e9a23b", "#c8553d"
REST = "#2f6690"


@dataclass(frozen=True)
class Bars:
    """Everything that the picture shows. ``stages`` has for each stage the plain backbone's milliseconds, and those
    with the block: the backbone's own, layouts, the block's."""

    title: str
    lines: tuple[Line, ...]
    stages: tuple[tuple[str, float, tuple[float, float, float]], ...]


def bars(found: Cost) -> Bars:
    """What is drawn of a cost."""
    sizes = ", ".join("x".join(map(str, shape)) for shape in found.inputs.values())
    stages = [] if found.added is None else found.added.profile.stages
    return Bars(
        f"{found.target}, {sizes}, ONNX Runtime, {found.threads} threads",
        tuple(summary(found)),
        tuple((stage.stage, stage.plain_ms, (stage.rest_ms, stage.layout_ms, stage.block_ms)) for stage in stages),
    )


def require_matplotlib() -> None:
    """Raise MissingRequirement, with the command that installs it, where there is none."""
    if find_spec("matplotlib") is None:
        raise MissingRequirement(f"received --plot; expected matplotlib, which is not installed; {INSTALL}")


def write_plot(found: Cost, path: Path) -> None:
    """Draw it to ``path``, in the format that its suffix names; MissingRequirement where matplotlib is not installed."""
    require_matplotlib()
    # not through pyplot, which would look for a screen
    figure_type: Any = import_module("matplotlib.figure").Figure
    shown = bars(found)
    figure = figure_type(figsize=(9, 3.2 if not shown.stages else 7.2), layout="constrained", dpi=150)
    axes = figure.subplots(2 if shown.stages else 1, 1, squeeze=False)[:, 0]
    figure.suptitle(shown.title, fontsize=11)
    _draw_lines(axes[0], shown.lines)
    if shown.stages:
        _draw_stages(axes[1], shown)
    figure.savefig(path, format=path.suffix.lower().removeprefix("."))


def _draw_lines(axis: Any, lines: tuple[Line, ...]) -> None:
    places = range(len(lines))
    colours = [MEASURED if line.measured else LIMIT for line in lines]
    axis.barh(places, [line.ms for line in lines], color=colours)
    for place, line in zip(places, lines, strict=True):
        end = max(line.ms, 0.0)
        if line.interval is not None:
            low, high = line.interval
            axis.errorbar(
                line.ms, place, xerr=[[line.ms - low], [high - line.ms]], fmt="none", color="black", capsize=4
            )
            end = max(end, high)
        axis.annotate(
            f"{line.ms:.3g}", (end, place), xytext=(5, 0), textcoords="offset points", va="center", fontsize=8
        )
    axis.set_yticks(places, [line.text for line in lines], fontsize=8)
    axis.invert_yaxis()
    axis.axvline(0, color="black", linewidth=0.8)
    axis.margins(x=0.12)
    axis.set_xlabel("milliseconds")
    axis.set_title("What it costs: measured, and the limit that this machine sets", fontsize=9, loc="left")


def _draw_stages(axis: Any, shown: Bars) -> None:
    places = list(range(len(shown.stages)))
    width = 0.38
    axis.bar(
        [place - width / 2 for place in places],
        [plain for _, plain, _ in shown.stages],
        width,
        color=PLAIN,
        label="plain backbone",
    )
    below = [0.0] * len(places)
    for part, (name, colour) in enumerate((("with it: backbone", REST), ("layouts", LAYOUT), ("block", BLOCK))):
        heights = [parts[part] for _, _, parts in shown.stages]
        axis.bar([place + width / 2 for place in places], heights, width, bottom=below, color=colour, label=name)
        below = [low + height for low, height in zip(below, heights, strict=True)]
    axis.set_xticks(places, [stage for stage, _, _ in shown.stages], fontsize=8)
    axis.set_ylabel("milliseconds")
    axis.set_title("Stage by stage, in ONNX Runtime's profile", fontsize=9, loc="left")
    axis.legend(fontsize=8, frameon=False)
