"""docs/architecture.md and CONTRIBUTING.md name files, rooms and objects that are there."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs/architecture.md"
ROOMS = ("core", "modules", "export", "engines", "validate", "report", "workflows", "cli")
FILE = re.compile(rf"`((?:{'|'.join((*ROOMS, 'tests', 'docs', 'benchmarks'))})/[\w./-]*)`")


@pytest.mark.parametrize("page", [PAGE, ROOT / "CONTRIBUTING.md"], ids=lambda page: page.name)
def test_every_file_that_is_named_is_there(page: Path) -> None:
    named = FILE.findall(page.read_text())
    assert len(named) > 20
    assert [name for name in named if not (ROOT / name).exists()] == []


def test_the_rooms_are_in_the_order_in_which_they_import_each_other() -> None:
    assert tuple(re.findall(r"^\| `(\w+)/` \|", PAGE.read_text(), re.MULTILINE)) == ROOMS


def test_every_object_is_defined_in_a_file_of_its_row() -> None:
    rows = re.findall(r"^\| ((?:`[A-Z]\w+`(?:, )?)+) \|.*\| ([^|]+) \|$", PAGE.read_text(), re.MULTILINE)
    assert len(rows) >= 10
    for objects, files in rows:
        trees = [ast.parse((ROOT / file).read_text()) for file in FILE.findall(files)]
        defined = {node.name for tree in trees for node in tree.body if isinstance(node, ast.ClassDef)}
        assert {*re.findall(r"`(\w+)`", objects)} <= defined
