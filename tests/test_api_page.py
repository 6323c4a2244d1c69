"""The examples of docs/api.md run in order, and each ``print(…)  # text`` prints that text."""

from __future__ import annotations

import contextlib
import io
import re
from pathlib import Path
from typing import Any

import pytest

from attn2trt.engines.environment import probe_rtx

PAGE = Path(__file__).resolve().parents[1] / "docs/api.md"
BLOCK = re.compile(
    r"(?P<rtx><!-- needs TensorRT for RTX -->\n)?```python\n(?P<code>.*?)^```$", re.MULTILINE | re.DOTALL
)
PRINT = re.compile(r"^ *print\(.*\)  # (.*)$", re.MULTILINE)


def run(page: str, *, with_rtx: bool) -> list[str]:
    """Run the blocks of a page in order; return the lines that they print otherwise than the page says."""
    names: dict[str, Any] = {"__name__": "api_page"}
    wrong = []
    for block in BLOCK.finditer(page):
        if block["rtx"] and not with_rtx:
            continue
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(compile(block["code"], str(PAGE), "exec"), names)
        lines, expected = printed.getvalue().splitlines(), PRINT.findall(block["code"])
        wrong += [f"{line!r} instead of {text!r}" for line, text in zip(lines, expected, strict=True) if line != text]
    return wrong


def test_the_examples_run_and_print_what_the_page_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(PAGE.read_text(encoding="utf-8"), with_rtx=probe_rtx().status == "usable") == []


def test_an_example_that_prints_something_else_is_found() -> None:
    page = '```python\nx = 1\n```\n\n```python\nprint(x)  # 2\nprint("y")  # y\n```\n'
    assert run(page, with_rtx=False) == ["'1' instead of '2'"]
    with pytest.raises(ValueError, match="argument 2 is shorter"):
        run("```python\nprint(1)\n```\n", with_rtx=False)


def test_a_block_that_needs_a_product_is_left_out_without_it() -> None:
    page = "<!-- needs TensorRT for RTX -->\n```python\nprint(1)  # 2\n```\n"
    assert run(page, with_rtx=False) == []
    assert run(page, with_rtx=True) == ["'1' instead of '2'"]
