"""The file and line of a module's class, also for code that stands between text, and for a decorated forward."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from attn2trt.modules.source_lines import class_and_line

PAGE = """It's text, with "quotes that are never closed.

class Net(nn.Module):
    def forward(self, x):
        return x
"""


class Decorated(nn.Module):
    @torch.no_grad()
    def forward(self, x: Tensor) -> Tensor:
        return x


def test_code_of_a_page_has_its_line_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("page.md").write_text(PAGE)
    names: dict[str, Any] = {"nn": nn, "__name__": "page"}
    exec(compile("\n\n" + PAGE.partition("\n\n")[2], str(tmp_path / "page.md"), "exec"), names)
    assert class_and_line(names["Net"]()) == ("Net", "page.md:4")


def test_a_decorated_forward_has_its_own_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(Path(__file__).parent)
    line = next(
        n for n, text in enumerate(Path(__file__).read_text().splitlines(), 1) if text.strip() == "@torch.no_grad()"
    )
    assert class_and_line(Decorated()) == ("Decorated", f"test_source_lines.py:{line}")


def test_a_class_without_a_file_has_no_line() -> None:
    names: dict[str, Any] = {"nn": nn, "__name__": "nowhere"}
    exec(compile("class Net(nn.Module):\n    def forward(self, x):\n        return x\n", "<input>", "exec"), names)
    assert class_and_line(names["Net"]()) == ("Net", "")
