"""The page of published numbers: equal to what is counted now, and strict about what it calls equal."""

from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from scripts import load_script

DOCS = Path(__file__).resolve().parents[1] / "docs"


@pytest.fixture(scope="module")
def generator() -> ModuleType:
    return load_script("generate_papers", "docs")


PAPERS = json.loads((DOCS / "published.json").read_text())["papers"]


@pytest.mark.slow
def test_the_page_is_what_its_generator_counts_now(generator: ModuleType) -> None:
    assert generator.page() == (DOCS / "papers.md").read_text()


@pytest.mark.parametrize("paper", PAPERS, ids=lambda paper: paper["paper"][:30])
def test_the_page_holds_the_first_network_of_every_paper_as_counted_now(
    generator: ModuleType, paper: dict[str, Any]
) -> None:
    cells, _ = generator.compare(paper, paper["rows"][0])
    assert f"| {' | '.join(cells)} |" in (DOCS / "papers.md").read_text()


def test_the_page_names_the_blocks_without_figures(generator: ModuleType) -> None:
    assert (DOCS / "papers.md").read_text().endswith("\n".join(generator._absent(PAPERS)))


def test_every_figure_has_its_source() -> None:
    for paper in PAPERS:
        assert paper["source"]
        assert paper["counting"]["text"]
        assert paper["counting"]["basis"]
        assert paper["rows"]


# The two published figures, whether the row has a note, and what becomes of it
@pytest.mark.parametrize(
    ("parameters", "macs", "note", "message"),
    [
        ("11.69", "1.81G", "", None),
        ("11.69", "1.82G", "", "different and without a note"),
        ("11.70", "1.81G", "", "different and without a note"),
        ("11.690", "1.814G", "known", "equal, and has a note"),
        ("11.70", "1.81G", "known", None),
    ],
)
def test_a_difference_needs_a_reason_and_only_a_difference(
    generator: ModuleType, parameters: str, macs: str, note: str, message: str | None
) -> None:
    row = {"network": "N", "target": "resnet18", "parameters": parameters, "macs": macs, "note": note}
    paper = {"paper": "P", "counting": {}}
    if message is None:
        _, is_equal = generator.compare(paper, row)
        assert is_equal is not bool(note)
    else:
        with pytest.raises(SystemExit, match=message):
            generator.compare(paper, row)


@pytest.mark.parametrize(
    ("value", "published", "unit", "step", "written"),
    [
        (4_096_000_000, "4.10", 1e9, None, "4.10"),
        (3_000_000_000, "2.794", 2.0**30, None, "2.794"),
        (306_700_000, "310", 1e6, 10, "310"),
        (304_900_000, "300", 1e6, 10, "300"),
    ],
)
def test_rounds_as_the_paper_does(
    generator: ModuleType, value: int, published: str, unit: float, step: int | None, written: str
) -> None:
    assert generator.rounded(value, published, unit, step) == written
