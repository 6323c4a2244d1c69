"""A Python process that finds the base dependencies and nothing else, as after ``pip install attn2trt``.

Base dependencies are those that pyproject.toml lists, with all that they require themselves, by their own metadata.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import venv
from collections.abc import Callable, Collection, Iterator, Mapping
from importlib.metadata import distribution, requires
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parents[1]
PROJECT: Mapping[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
MODULES = (".py", ".so", ".pyd")
# Run a Python with arguments; its output is text.
Run = Callable[..., "subprocess.CompletedProcess[str]"]

# Python runs a module of this name at its start, in every child process as well. The names are put in below. What is
# hidden has neither modules nor metadata, so that find_spec and version() do not see it either.
_SITECUSTOMIZE = """
import sys
from importlib.machinery import PathFinder
from importlib.metadata import MetadataPathFinder
import re

MODULES, DISTRIBUTIONS = set({modules}), set({distributions})
MODULES |= sys.stdlib_module_names | set(sys.builtin_module_names)


class BaseAlone(PathFinder):
    @classmethod
    def find_spec(cls, fullname, path=None, target=None):
        if path is None and fullname not in MODULES:
            return None
        return super().find_spec(fullname, path, target)

    @classmethod
    def find_distributions(cls, *args, **kwargs):
        for found in MetadataPathFinder.find_distributions(*args, **kwargs):
            if re.sub("[-_.]+", "-", found.metadata["Name"]).lower() in DISTRIBUTIONS:
                yield found


sys.meta_path[sys.meta_path.index(PathFinder)] = BaseAlone
"""


def base_distributions() -> set[str]:
    """The names of the distributions that an install without an extra brings to this machine, our own among them."""
    found = {canonicalize_name(PROJECT["name"])}
    waiting = list(_wanted(PROJECT["dependencies"]))
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting += _wanted(requires(name) or [])
    return found


def _wanted(requirements: list[str]) -> Iterator[str]:
    for text in requirements:
        requirement = Requirement(text)
        if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
            yield canonicalize_name(requirement.name)


def modules_of(distributions: Collection[str]) -> set[str]:
    """The top-level modules of these distributions, by the files that they installed, and our own package."""
    files = (file for name in distributions for file in distribution(name).files or ())
    return {PROJECT["name"], *(file.parts[0].partition(".")[0] for file in files if file.suffix in MODULES)}


def hidden(folder: Path, *, without: Collection[str] = ()) -> Run:
    """Return a runner of this Python that sees the base install alone; its start-up module is put in ``folder``.

    ``without`` names base distributions that are hidden as well.
    """
    distributions = base_distributions() - set(without)
    lists = {
        "modules": json.dumps(sorted(modules_of(distributions))),
        "distributions": json.dumps(sorted(distributions)),
    }
    (folder / "sitecustomize.py").write_text(_SITECUSTOMIZE.format(**lists))
    searched = [str(folder), *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
    return _runner(sys.executable, {**os.environ, "PYTHONPATH": os.pathsep.join(searched)})


def installed(folder: Path) -> Run:
    """Return a runner of a new environment's Python, in which ``pip install .`` has put this package; takes minutes."""
    source = folder / "source"
    files = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in filter(None, files.split("\0")):
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, source / name, follow_symlinks=False)
    venv.create(folder / "venv", with_pip=True, symlinks=sys.platform != "win32")
    python = folder / "venv" / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
    # without it the package would be found in this checkout
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = _runner(python, environment)("-m", "pip", "install", "--quiet", str(source))
    assert done.returncode == 0, done.stderr
    return _runner(python, environment)


def _runner(python: Path | str, environment: Mapping[str, str]) -> Run:
    return lambda *arguments: subprocess.run(
        [str(python), *arguments], capture_output=True, text=True, check=False, env=environment
    )
