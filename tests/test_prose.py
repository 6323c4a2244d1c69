"""The count of prose: each rule finds what it should in a small tree, and leaves the rest."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from pathlib import Path
from types import ModuleType

import pytest
from scripts import load_script

ROOT = Path(__file__).resolve().parents[1]
CODE = '''"""Which of the two it is."""


def handover() -> str:
    """Return a name. Where it lies, beside it."""
    # the subject where nothing is
    return "expected a name where none is given"


class Plain:
    """Return the path; whether it exists is another question."""

    what = "Where is it?"
'''
PAGE = f"""# A heading of which nobody knows where it ends

A line, and the page where it says {" ".join(["so"] * 30)}. It is told where none
is left.

```sh
where is code
```

| `where` | a cell where there is nothing |
"""


@pytest.fixture(scope="module")
def prose() -> ModuleType:
    return load_script("prose")


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    (tmp_path / "room").mkdir()
    (tmp_path / "room" / "part.py").write_text(CODE)
    (tmp_path / "page.md").write_text(PAGE)
    return tmp_path


def test_each_rule(prose: ModuleType, tree: Path) -> None:
    found = prose.tally(tree, ["room/part.py", "page.md", "picture.svg"])
    places = {(one.count, one.file, one.line) for one in found.findings}
    assert places == {
        ("fragments", "room/part.py", 1),
        ("fragments", "room/part.py", 5),
        ("where", "room/part.py", 5),
        ("where", "room/part.py", 6),
        ("where", "room/part.py", 7),
        ("private", "room/part.py", 4),
        ("private", "room/part.py", 6),
        ("long", "page.md", 3),
        ("where", "page.md", 3),
        ("private", "page.md", 3),
        ("where", "page.md", 10),
    }
    assert (found.docstrings, found.sentences) == ({"room": 3}, {".": 3})


def test_the_table_has_both_trees(prose: ModuleType, tree: Path) -> None:
    before = prose.tally(tree, ["room/part.py", "page.md"])
    now = prose.tally(tree, ["room/part.py"])
    assert prose.table(now, before).splitlines()[-1] == (
        "| all | 2 of 3 (66.7%) → 2 of 3 (66.7%) | 1 of 3 (33.3%) → - | 5 → 3 | 3 → 2 |"
    )


def test_the_repository_keeps_the_limits_of_the_style(prose: ModuleType) -> None:
    """At most 2 % of the docstrings hold a fragment, and 5 % of the sentences of pages are long."""
    found = prose.today()
    counted = Counter(one.count for one in found.findings)
    assert counted["fragments"] <= 0.02 * sum(found.docstrings.values())
    assert counted["long"] <= 0.05 * sum(found.sentences.values())
    assert counted["where"] + counted["private"] <= 0.04 * sum(found.docstrings.values())


def test_an_unknown_revision_is_one_line() -> None:
    command = [sys.executable, "benchmarks/prose.py", "--against", "no-such-revision"]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert ran.returncode != 0
    assert ran.stderr.startswith("received --against no-such-revision; expected a revision; git: ")
    assert ran.stderr.count("\n") == 1
