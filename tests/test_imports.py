"""A room imports only rooms to its left, and heavy libraries are loaded by whoever needs them, when needed."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import onnx
import pytest
from small_graph import healthy

ROOT = Path(__file__).resolve().parents[1]
ROOMS = ("core", "modules", "export", "engines", "validate", "report", "workflows", "cli")
# Rooms to the left that a room must not use: a graph's maker and its runner are separate, and the judge uses
# nothing of the exporter that it judges.
APART = {"engines": {"export"}, "validate": {"export"}}
ANYONE = {"errors", ""}  # the root's own names: attn2trt.__version__
TORCH = {"torch", "torchvision", "timm"}
HEAVY = ("torch", "timm", "onnx", "onnxruntime", "numpy", "rich")


def sources() -> list[Path]:
    in_rooms = [path for room in ROOMS for path in sorted((ROOT / room).rglob("*.py"))]
    return [*in_rooms, *sorted(ROOT.glob("*.py"))]


def imported(tree: ast.AST, package: tuple[str, ...]) -> Iterator[str]:
    """Absolute dotted names of everything that the code imports, at any depth; package is the importing file's own."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            head = (*base, *(node.module or "").split(".")) if node.module else base
            # `from .. import errors` names the module in the alias
            yield from (".".join((*head, alias.name)) for alias in node.names)


def names(path: Path) -> set[str]:
    package = ("attn2trt", *path.relative_to(ROOT).parent.parts)
    return set(imported(ast.parse(path.read_text()), package))


def room_of(path: Path) -> str:
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def may_import_torch(path: Path) -> bool:
    place = path.relative_to(ROOT).as_posix()
    allowed = (
        "modules/",
        "export/trace/",
        "validate/reference.py",
        "validate/eager.py",
        "validate/overflow.py",
        "validate/far_numbers.py",
        "validate/selections.py",
        "validate/window_maxima.py",
        "validate/float64.py",
        "validate/repeats/",
        "validate/half_precision.py",
        "validate/quantized.py",
        "validate/operator_mode.py",
        "validate/tf32.py",
        "validate/plain_kernels.py",
        "validate/last_digits.py",
        "validate/equal_scores.py",
        "validate/row_convolution.py",
        "validate/written.py",
        "validate/sources.py",
        "validate/watch.py",
        "validate/localize/dependence.py",
        "validate/localize/eager_calls.py",
        "engines/torch_runtime.py",
        "engines/torch_cuda.py",
    )
    return place.startswith(allowed)


def wrong_rooms(path: Path, found: set[str]) -> list[str]:
    room = room_of(path)
    if room not in ROOMS:
        return []
    to_the_left = (set(ROOMS[: ROOMS.index(room) + 1]) | ANYONE) - APART.get(room, set())
    used = {name.split(".")[1] if name.count(".") else "" for name in found if name.split(".")[0] == "attn2trt"}
    rooms = {name for name in used if name in ROOMS}
    return sorted(rooms - to_the_left)


@pytest.mark.parametrize("path", sources(), ids=lambda path: path.relative_to(ROOT).as_posix())
def test_imports_go_to_the_left(path: Path) -> None:
    found = names(path)
    assert wrong_rooms(path, found) == []
    torch = sorted(name for name in found if name.split(".")[0] in TORCH)
    only_for_types = "TYPE_CHECKING" in path.read_text() and not runtime_torch(path)
    assert may_import_torch(path) or not torch or only_for_types, torch


def runtime_torch(path: Path) -> bool:
    """Return True if torch is imported outside of `if TYPE_CHECKING:`."""
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            node.body = [ast.Pass()]
    return any(name.split(".")[0] in TORCH for name in imported(tree, ()))


@pytest.mark.parametrize(
    ("place", "code", "wrong"),
    [
        ("modules/a.py", "from ..export.graph import OnnxGraph", ["export"]),
        ("modules/blocks/a.py", "def f():\n    from ...validate import cases", ["validate"]),
        ("modules/a.py", "from .. import workflows", ["workflows"]),
        ("export/a.py", "import attn2trt.cli.main", ["cli"]),
        ("export/a.py", "from ..modules.target import Axis\nfrom ..errors import InputError\nimport onnx", []),
        ("cli/a.py", "from ..pipeline import deploy\nfrom ..report.table import verdict_table", []),
    ],
)
def test_the_check_sees_a_wrong_import(place: str, code: str, wrong: list[str]) -> None:
    path = ROOT / place
    found = set(imported(ast.parse(code), ("attn2trt", *Path(place).parent.parts)))
    assert wrong_rooms(path, found) == wrong


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["deploy", "--help"], ["deploy", "--no-such-option"]])
def test_the_command_line_starts_without_heavy_libraries(arguments: list[str]) -> None:
    code = (
        "import sys\nfrom attn2trt.cli.main import main\n"
        f"sys.argv = ['attn2trt', *{arguments!r}]\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        f"print('loaded:', [name for name in {HEAVY!r} if name in sys.modules])"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.splitlines()[-1] == "loaded: []"


def test_importing_the_package_loads_no_heavy_library() -> None:
    code = f"import sys, attn2trt; print([name for name in {HEAVY!r} if name in sys.modules])"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"


def test_onnx_runtime_leaves_no_file_and_no_identifier(tmp_path: Path) -> None:
    for folder in ("home", "tmp", "here"):
        (tmp_path / folder).mkdir()
    onnx.save(healthy(), tmp_path / "graph.onnx")
    code = "import attn2trt, onnxruntime; onnxruntime.InferenceSession('../graph.onnx')"
    places = {"HOME": str(tmp_path / "home"), "TMPDIR": str(tmp_path / "tmp")}
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("ORT_", "XDG_"))} | places
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path / "here", env=environment, check=True)
    assert not [file for folder in ("home", "tmp", "here") for file in (tmp_path / folder).iterdir()]


def test_nothing_is_loose_at_the_root() -> None:
    assert {path.name for path in ROOT.glob("*.py")} == {"__init__.py", "__main__.py", "errors.py"}
