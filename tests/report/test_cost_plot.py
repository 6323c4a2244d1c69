"""The plot shows the numbers of the tables; the drawing itself needs no more than a figure that takes it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cost_sample
import pytest

from attn2trt.errors import MissingRequirement
from attn2trt.report import cost_plot
from attn2trt.report.cost_summary import summary


class Axis:
    """Notes every call."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, tuple[Any, ...]]] = []

    def __getattr__(self, name: str) -> Any:
        return lambda *arguments, **_: self.calls.append((name, arguments))

    def drawn(self, name: str) -> list[tuple[Any, ...]]:
        return [arguments for called, arguments in self.calls if called == name]


class Figure:
    """Stands for matplotlib's."""

    made: list[Figure] = []  # noqa: RUF012 - one list for all is the point

    def __init__(self, **_: Any) -> None:
        self.axes: list[Axis] = []
        self.made.append(self)

    def add_subplot(self, *_: int) -> Axis:
        self.axes.append(Axis())
        return self.axes[-1]

    def suptitle(self, *_: Any, **__: Any) -> None: ...

    def savefig(self, path: Path, format: str, metadata: dict[str, str]) -> None:
        path.write_text(format)


@pytest.fixture
def matplotlib(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cost_plot, "find_spec", lambda name: name)
    monkeypatch.setattr(cost_plot, "import_module", lambda name: type("module", (), {"Figure": Figure}))


def test_the_bars_are_the_tables_numbers() -> None:
    found = cost_sample.added()
    shown = cost_plot.bars(found)
    assert shown.lines == tuple(summary(found))
    assert shown.stages[1] == ("layer1", (0.75, 0.5, -0.5), pytest.approx(0.75 / 8))
    assert len(shown.stages[0][1]) == len(cost_plot.PARTS)
    assert cost_plot.bars(cost_sample.alone()).stages == ()


@pytest.mark.usefixtures("matplotlib")
def test_every_line_and_stage_is_drawn(tmp_path: Path) -> None:
    found = cost_sample.added()
    cost_plot.write_plot(found, tmp_path / "cost.PNG", title="attn2trt cost")
    assert (tmp_path / "cost.PNG").read_text() == "png"
    upper, lower = Figure.made[-1].axes
    ((_, lengths),) = upper.drawn("barh")
    assert lengths == [line.ms for line in summary(found)]
    assert len(upper.drawn("errorbar")) == 2  # the two that have an interval
    heights = [arguments[1] for arguments in lower.drawn("bar")]
    assert heights == [[0, 0.75, 0], [0, 0.5, 0], [0, -0.5, 0]]


@pytest.mark.usefixtures("matplotlib")
def test_a_block_alone_has_no_stages_to_draw(tmp_path: Path) -> None:
    cost_plot.write_plot(cost_sample.alone(), tmp_path / "cost.svg", title="attn2trt cost")
    assert (tmp_path / "cost.svg").read_text() == "svg"
    assert len(Figure.made[-1].axes) == 1


def test_without_matplotlib_the_command_that_installs_it_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cost_plot, "find_spec", lambda name: None)
    with pytest.raises(MissingRequirement, match=r"expected matplotlib.*pip install matplotlib"):
        cost_plot.write_plot(cost_sample.added(), tmp_path / "cost.png", title="attn2trt cost")
    assert list(tmp_path.iterdir()) == []
