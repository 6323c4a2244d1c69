"""The root is the package: a folder that pyproject.toml does not list would be missing from an installation."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from importlib.metadata import entry_points, version
from pathlib import Path

import pytest

import attn2trt

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parents[1]
NOT_INSTALLED = {"tests", "docs", "benchmarks", "examples", "build", "dist", "bundles"}
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def folders_with_python_files() -> set[str]:
    found = set()
    for folder, inside, files in os.walk(ROOT):
        path = Path(folder)
        skipped = NOT_INSTALLED if path == ROOT else set()
        inside[:] = [
            name
            for name in inside
            if name[0] not in "._" and name not in skipped and not (path / name / "pyvenv.cfg").exists()
        ]
        if any(name.endswith(".py") for name in files):
            found.add(".".join(("attn2trt", *path.relative_to(ROOT).parts)))
    return found


def test_every_folder_with_python_files_is_listed_and_nothing_else() -> None:
    assert set(PROJECT["tool"]["setuptools"]["packages"]) == folders_with_python_files()


def test_every_listed_package_has_an_init_file() -> None:
    for name in PROJECT["tool"]["setuptools"]["packages"]:
        assert ROOT.joinpath(*name.split(".")[1:], "__init__.py").is_file(), name


def test_the_installed_package_is_this_one() -> None:
    assert attn2trt.__version__ == version("attn2trt") == PROJECT["project"]["version"]
    assert Path(attn2trt.__file__).parent == ROOT
    (script,) = entry_points(group="console_scripts", name="attn2trt")
    assert script.value == PROJECT["project"]["scripts"]["attn2trt"]


def test_what_a_room_reads_beside_its_code_is_installed() -> None:
    for package, patterns in PROJECT["tool"]["setuptools"]["package-data"].items():
        folder = ROOT.joinpath(*package.split(".")[1:])
        assert package == "*" or all(any(folder.glob(pattern)) for pattern in patterns), package
    listed = {path for pattern in ("templates/*",) for path in (ROOT / "report").glob(pattern)}
    assert {path for path in (ROOT / "report").rglob("*") if path.suffix in (".html", ".css")} <= listed


def test_a_wheel_holds_nothing_of_an_earlier_build(tmp_path: Path) -> None:
    """A block that was removed since would still be one of the catalogue."""
    pytest.importorskip("setuptools", minversion="77")
    (tmp_path / "pyproject.toml").write_text(
        '[project]\nname = "attn2trt"\nversion = "0"\n'
        '[tool.setuptools]\npackages = ["attn2trt"]\npackage-dir = {attn2trt = "."}\n'
    )
    (tmp_path / "__init__.py").touch()
    (tmp_path / "build/lib/attn2trt/modules").mkdir(parents=True)
    (tmp_path / "build/lib/attn2trt/modules/removed.py").touch()
    backend, (folder,) = (PROJECT["build-system"][key] for key in ("build-backend", "backend-path"))
    program = f"import {backend}; {backend}.build_wheel('dist')"
    paths = {**os.environ, "PYTHONPATH": str(ROOT / folder)}
    subprocess.run([sys.executable, "-c", program], cwd=tmp_path, env=paths, capture_output=True, check=True)
    (wheel,) = (tmp_path / "dist").glob("*.whl")
    with zipfile.ZipFile(wheel) as held:
        assert [name for name in held.namelist() if name.endswith(".py")] == ["attn2trt/__init__.py"]


def test_what_builds_a_wheel_is_in_the_source_distribution() -> None:
    (folder,) = PROJECT["build-system"]["backend-path"]
    assert f"{folder}/{PROJECT['build-system']['build-backend']}.py" in (ROOT / "MANIFEST.in").read_text()


def test_the_public_names_are_there() -> None:
    for name in attn2trt.__all__:
        assert getattr(attn2trt, name) is not None


def test_the_type_checkers_link_points_to_the_root() -> None:
    assert (ROOT / ".typing" / "attn2trt").resolve() == ROOT


def test_the_tests_run_in_a_clone_of_any_name(tmp_path: Path) -> None:
    clone = tmp_path / "attn2trt-0.1"
    (clone / "tests").mkdir(parents=True)
    for name in ("pyproject.toml", "tests/conftest.py", "tests/in_this_process.py", "tests/interruptible.py"):
        shutil.copyfile(ROOT / name, clone / name)
    (clone / "__init__.py").write_text("from .errors import InputError\n")
    (clone / "tests/test_one.py").write_text("def test_one():\n    pass\n")
    command = [sys.executable, "-m", "pytest", "-n", "0", "-q", "-p", "no:cacheprovider", "tests/test_one.py"]
    ran = subprocess.run(command, cwd=clone, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout
