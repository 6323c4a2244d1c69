"""benchmarks/architecture.py, on a small tree that is in order and on ones in which one thing is broken."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from scripts import load_script

ROOT = Path(__file__).resolve().parents[1]
GOOD = {
    "__init__.py": '__all__ = ["deploy"]\n_HOME = {"deploy": ".flows.deploy"}\n',
    "low/__init__.py": "",
    "low/files.py": "def write(path, progress):\n    progress(path)\n",
    "low/never.py": "def never():\n    return 1\n",
    "left/__init__.py": "",
    "left/make.py": "from ..low.files import write\n\n\ndef make(progress):\n    write('a', progress)\n",
    "right/__init__.py": "",
    "right/run.py": (
        "class Run:\n    def __init__(self, path, noted):\n        self.noted = noted\n\n"
        "    def go(self, after):\n        from ..low import files\n\n        files.write('b', self.noted)\n"
    ),
    "flows/__init__.py": "",
    "flows/deploy.py": (
        '"""Docstring."""\nfrom collections.abc import Callable\n\nfrom ..left.make import make\n'
        "from ..right.run import Run\n\n\ndef deploy(progress: Callable[[str], None]):\n    make(progress)\n"
        "    run = Run('c', noted=lambda text: progress(text))\n    run.go(len)\n    run.go(after=progress)\n"
    ),
    "flows/validate.py": "from ..left.make import make\n\n\ndef validate_bundle():\n    make(print)\n",
    "flows/benchmark.py": "def benchmark():\n    # a comment\n\n    return 1\n",
    "cli/__init__.py": "",
    "cli/main.py": "from ..flows.deploy import deploy\n\n\ndef main():\n    deploy(print)\n",
}


@pytest.fixture(scope="module")
def architecture() -> ModuleType:
    return load_script("architecture")


def tree(folder: Path, changes: Mapping[str, str]) -> Path:
    """A package of the files of GOOD, with changes."""
    files = {**GOOD, **changes}
    packages = ["shop", *sorted({f"shop.{name.partition('/')[0]}" for name in files if "/" in name})]
    (folder / "pyproject.toml").write_text(f"[tool.setuptools]\npackages = {packages}\n")
    for name, text in files.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text)
    return folder


def test_a_tree_in_order(architecture: ModuleType, tmp_path: Path) -> None:
    found = architecture.shape(tree(tmp_path, {}))
    assert str(found.order) == "low < { left | right } < flows < cli"
    assert (found.order.circle, found.order.file_circle, found.order.upward) == ((), (), ())
    deploy = found.walks["deploy"]
    assert deploy.rooms == ("low", "left", "right", "flows")
    assert deploy.files == ("flows/deploy.py", "left/make.py", "low/files.py", "right/run.py")
    assert [(it.callee, it.argument, f"{it.path}:{it.line}") for it in deploy.callbacks] == [
        ("left.make.make", "progress", "flows/deploy.py:9"),
        ("right.run.Run", "noted", "flows/deploy.py:10"),
        ("right.run.Run.go", "after", "flows/deploy.py:12"),
    ]
    assert found.walks["validate"].callbacks == ()  # print is nobody's room
    assert found.walks["benchmark"].rooms == ("flows",)
    assert found.public == ("deploy",)


@pytest.mark.parametrize(
    ("changes", "circle", "upward"),
    [
        ({"low/files.py": "def write(path):\n    from ..flows import deploy\n"}, "flows left low", "low/files.py:2"),
        ({"low/files.py": "import shop.right.run\n\n\ndef write(path): ...\n"}, "low right", "low/files.py:1"),
        (
            {
                "low/files.py": "if TYPE_CHECKING:\n    from ..cli.main import main\n\n\ndef write(path): ...\n",
                "cli/more.py": "from ..flows import validate\n",
            },
            "cli flows left low",
            "low/files.py:2",
        ),
    ],
    ids=["lazily", "absolutely", "for types alone"],
)
def test_a_broken_arrow_is_a_circle_and_named(
    architecture: ModuleType, tmp_path: Path, changes: dict[str, str], circle: str, upward: str
) -> None:
    found = architecture.shape(tree(tmp_path, changes)).order
    assert sorted(set(found.circle)) == circle.split()
    assert [f"{item.file.path}:{item.line}" for item in found.upward] == [upward]


def test_files_of_one_room_that_import_each_other_are_a_circle(architecture: ModuleType, tmp_path: Path) -> None:
    changes = {"low/never.py": "from .other import once\n", "low/other.py": "def once():\n    from . import never\n"}
    found = architecture.shape(tree(tmp_path, changes)).order
    assert (found.circle, set(found.file_circle)) == ((), {"low.never", "low.other"})


def test_lines_are_counted_without_docstrings_comments_and_blanks(architecture: ModuleType, tmp_path: Path) -> None:
    doc = '    """Docstring\n    of three\n    lines."""\n'
    body = "".join(f"    x{number} = {number}\n" for number in range(38))
    for count, more in ((40, ""), (41, "    # a comment counts for the length of a function\n")):
        text = f"def long():\n{doc}{body}{more}    return 1\n\n\nclass A:\n    def short(self):\n        return 1\n"
        found = architecture.shape(tree(tmp_path, {"low/never.py": text}))
        assert found.long == (((count, "low.never.long"),) if count > 40 else ())
        least = architecture.shape(tree(tmp_path, {"low/never.py": ""}))
        assert found.lines - least.lines == 40 + 3


def test_a_workflow_that_is_not_there_is_named(architecture: ModuleType, tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="no function validate or validate_bundle"):
        architecture.shape(tree(tmp_path, {"flows/validate.py": ""}))


def test_a_revision_that_is_not_there_is_named(architecture: ModuleType, tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="received --against no-such-revision; expected a revision of git"):
        architecture.unpack("no-such-revision", tmp_path)


@pytest.fixture(scope="module")
def found(architecture: ModuleType) -> Any:
    """The shape of the package itself, which takes seconds to measure."""
    return architecture.shape(ROOT)


def test_the_package_itself_is_in_order(found: Any) -> None:
    assert (found.order.circle, found.order.file_circle, found.order.upward) == ((), (), ()), str(found.order)
    most = {"deploy": 6, "validate": 9, "benchmark": 9}
    assert {verb: len(walk.callbacks) <= most[verb] for verb, walk in found.walks.items()} == dict.fromkeys(most, True)


def test_the_command_prints_a_table(
    architecture: ModuleType, found: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(architecture, "shape", {ROOT: found}.__getitem__)
    monkeypatch.setattr(sys, "argv", ["architecture.py", "--list"])
    assert architecture.main() == 0
    printed = capsys.readouterr().out
    assert "rooms now: errors < core < modules < " in printed
    assert "| circle of rooms | none |" in printed
    assert "workflows/deploy.py" in printed
