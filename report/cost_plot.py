"""Draw what a block costs: the sum beside its limits, and the backbone stage by stage."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ..core import bounds
from ..engines.timing.costs import Cost
from ..errors import MissingRequirement
from .cost_summary import Line, summary

INSTALL = "pip install matplotlib"
MEASURED, LIMIT = "#2f6690", "#9aa5b1"
PARTS = {"the block's operators": "#c8553d", "layouts": "#e9a23b", "the backbone's operators": "#2f6690"}


@dataclass(frozen=True)
class Bars:
    """Everything that the picture shows.

    ``stages`` has for each stage what it takes more with the block in milliseconds, by what takes it in the order of
    PARTS, and the sum of these as a share of what the stage takes in the plain backbone; None if that is nothing.
    """

    title: str
    lines: tuple[Line, ...]
    stages: tuple[tuple[str, tuple[float, float, float], float | None], ...]


def bars(found: Cost) -> Bars:
    """The parts of a cost that are drawn."""
    sizes = ", ".join("x".join(map(str, shape)) for shape in found.inputs.values())
    stages = [] if found.added is None else found.added.profile.stages
    return Bars(
        f"{found.target}, {sizes}, ONNX Runtime on the CPU",
        tuple(summary(found)),
        tuple(
            (
                stage.stage,
                (stage.block_ms, stage.more_layout_ms, stage.more_rest_ms),
                stage.difference_ms / stage.plain_ms if stage.plain_ms else None,
            )
            for stage in stages
        ),
    )


def require_matplotlib() -> None:
    """Raise MissingRequirement, with the command that installs it, if it is not installed or is too old."""
    if find_spec("matplotlib") is None:
        raise MissingRequirement(f"received --plot; expected matplotlib, which is not installed; {INSTALL}")
    bounds.require_within("matplotlib")


def write_plot(found: Cost, path: Path, *, title: str) -> None:
    """Draw it to ``path``, in the format of its suffix, with a title in its metadata, which is not drawn.

    Raises MissingRequirement if matplotlib is not installed.
    """
    require_matplotlib()
    # not through pyplot, which would look for a screen
    figure_type: Any = import_module("matplotlib.figure").Figure
    shown = bars(found)
    figure = figure_type(figsize=(9, 3.2 if not shown.stages else 7.2), layout="constrained", dpi=150)
    rows = 2 if shown.stages else 1
    figure.suptitle(shown.title, fontsize=11)
    _draw_lines(figure.add_subplot(rows, 1, 1), shown.lines)
    if shown.stages:
        _draw_stages(figure.add_subplot(rows, 1, 2), shown)
    figure.savefig(path, format=path.suffix.lower().removeprefix("."), metadata={"Title": title})


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
    places = range(len(shown.stages))
    above, below = [0.0] * len(places), [0.0] * len(places)
    for part, (name, colour) in enumerate(PARTS.items()):
        heights = [parts[part] for _, parts, _ in shown.stages]
        starts = [high if height >= 0 else low for height, high, low in zip(heights, above, below, strict=True)]
        axis.bar(places, heights, 0.6, bottom=starts, color=colour, label=name)
        above = [high + max(height, 0.0) for height, high in zip(heights, above, strict=True)]
        below = [low + min(height, 0.0) for height, low in zip(heights, below, strict=True)]
    for place, (_, parts, share) in enumerate(shown.stages):
        text = f"{sum(parts):+.3g}" + ("" if share is None else f"\n{share:+.1%}")
        axis.annotate(text, (place, above[place]), xytext=(0, 3), textcoords="offset points", ha="center", fontsize=8)
    axis.set_xticks(places, [stage for stage, _, _ in shown.stages], fontsize=8)
    axis.axhline(0, color="black", linewidth=0.8)
    axis.margins(y=0.18)
    axis.set_ylabel("milliseconds more")
    axis.set_title("What each stage takes more, in ONNX Runtime's profile", fontsize=9, loc="left")
    axis.legend(fontsize=8, frameon=False)
