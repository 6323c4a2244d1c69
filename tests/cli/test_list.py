"""``attn2trt list`` in terminals of every width, and in a pipe."""

from __future__ import annotations

import io
import re

import pytest
from rich.console import Console

from attn2trt.cli.list import WHOLE, listing
from attn2trt.modules.listing import Entry, entries

SUMMARY = "squeezes each map to one number, and scales it by what two layers make of them all"
FOUND = [
    Entry("se", "block", SUMMARY, "https://arxiv.org/abs/1709.01507", 512, 200_704, 2018, options={"reduction": 16}),
    Entry("danet", "block", SUMMARY, "", None, axes=("batch",), places={"ResNet": "layer4"}),
    Entry("resnet50", "backbone", "residual network of 50 layers", "https://arxiv.org/abs/1512.03385", 25_557_032),
    Entry("torchvision", "library", SUMMARY, "", None, examples=("resnet50", "vit_b_16"), licence="BSD"),
]


def printed(found: list[Entry], width: int) -> list[str]:
    out = io.StringIO()
    Console(file=out, width=width).print(*listing(found), sep="")
    return out.getvalue().splitlines()


@pytest.mark.parametrize("width", [60, 80, 120])
def test_a_narrow_terminal_gets_a_paragraph_for_each_in_which_no_word_is_cut(width: int) -> None:
    lines = printed([entry for entry in FOUND if entry.kind != "backbone"], width)  # whose table fits into 120
    assert max(map(len, printed(FOUND, width))) <= width
    text = " ".join(" ".join(lines).split())
    assert "┃" not in text
    assert "se 2018, 512 parameters, 200,704 MACs what it is" in text
    assert f"what it is {SUMMARY} options reduction=16 paper arXiv:1709.01507 danet what it is" in text
    assert f"danet what it is {SUMMARY} may vary batch in a ResNet layer4 " in text
    assert "torchvision not installed what it has " in text
    assert "some names torchvision:resnet50, torchvision:vit_b_16" in text


def test_a_wide_terminal_gets_tables() -> None:
    lines = printed(FOUND, 240)
    assert sum(line.startswith("┏") for line in lines) == 3
    assert any(re.match(r"│ se +│ 2018 +│ 512 +│ 200,704 +│ squeezes", line) for line in lines)


def test_a_pipe_gets_a_line_for_each() -> None:
    for entry in (found := entries()):
        assert entry.summary
    lines = printed(found, WHOLE)
    for entry in found:
        (line,) = (line for line in lines if line.startswith(f"│ {entry.name} "))
        assert entry.summary in line
        assert all(f"{entry.name}:{example}" in line for example in entry.examples)
    tables = sum(line.startswith("┏") for line in lines)
    # for each table its title, three lines of a frame and the names of the columns
    assert len(lines) == len(found) + 5 * tables
    assert "…" not in "".join(lines)
