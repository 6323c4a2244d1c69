"""The package's files as syntax trees, and what each of them imports."""

from __future__ import annotations

import ast
import functools
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


@functools.cache
def walked(node: ast.AST) -> Sequence[ast.AST]:
    """Return all nodes below one, which is itself the first; every count asks for them again, and no tree changes."""
    return tuple(ast.walk(node))


@dataclass(frozen=True)
class File:
    """One file: its path, its dotted name without the package's own, and its tree."""

    path: str
    name: str
    text: str
    tree: ast.Module

    @property
    def room(self) -> str:
        """The folder at the top that it lies in, or its own name if it lies at the top."""
        return self.name.partition(".")[0]

    @property
    def package(self) -> tuple[str, ...]:
        """The parts of the folder's dotted name, which relative imports begin at."""
        return Path(self.path).parent.parts


@dataclass(frozen=True)
class Import:
    """One name that a file imports: the ``module`` it is in, and the name there ("" for the module itself).

    ``local`` is what the file calls it.
    """

    file: File
    line: int
    module: str
    name: str
    local: str


class Package:
    """The files of the package in ``root``, as its pyproject.toml lists them, by dotted name."""

    def __init__(self, root: Path) -> None:
        tool = tomllib.loads((root / "pyproject.toml").read_text())["tool"]["setuptools"]
        self.name, *_ = sorted(tool["packages"], key=len)
        self.files: dict[str, File] = {}
        self._imports: dict[str, list[Import]] = {}
        for package in tool["packages"]:
            folder = root.joinpath(*package.split(".")[1:])
            for path in sorted(folder.glob("*.py")):
                file = _read(root, path)
                self.files[file.name] = file

    def imports(self, file: File) -> Sequence[Import]:
        """Return what the file imports of the package, at any depth, also if only type checkers see it."""
        if file.name not in self._imports:
            self._imports[file.name] = list(self._imported(file))
        return self._imports[file.name]

    def _imported(self, file: File) -> Iterator[Import]:
        for node in walked(file.tree):
            if isinstance(node, ast.Import):
                for alias in node.names:
                    if (module := self._own(alias.name)) is not None:
                        yield Import(file, node.lineno, module, "", alias.asname or alias.name)
            elif isinstance(node, ast.ImportFrom) and (base := self._base(file, node)) is not None:
                for alias in node.names:
                    inner = ".".join(filter(None, (base, alias.name)))
                    home, name = (inner, "") if inner in self.files else (base, alias.name)
                    yield Import(file, node.lineno, home, name, alias.asname or alias.name)

    def verbs(self) -> Mapping[str, str]:
        """Return the module of each name that the package offers, from the table that its root loads them by."""
        for node in ast.walk(self.files[""].tree):
            if isinstance(node, ast.Assign | ast.AnnAssign) and isinstance(node.value, ast.Dict):
                table: Any = _literal(node.value)
                if table and all(isinstance(value, str) and value.startswith(".") for value in table.values()):
                    return {name: value.removeprefix(".") for name, value in table.items()}
        return {}

    def public(self) -> Sequence[str]:
        """Return the names in the root's ``__all__``."""
        for node in self.files[""].tree.body:
            if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
                return list(_literal(node.value) or ())
        return []

    def _own(self, dotted: str) -> str | None:
        head, _, rest = dotted.partition(".")
        return rest if head == self.name and rest in self.files else None

    def _base(self, file: File, node: ast.ImportFrom) -> str | None:
        """Return the module that names are imported from; None if it is none of the package's."""
        if not node.level:
            return self._own(node.module or "")
        base = file.package[: len(file.package) - node.level + 1]
        return ".".join([*base, *filter(None, [node.module])])


def _read(root: Path, path: Path) -> File:
    relative = path.relative_to(root)
    parts = [*relative.parent.parts, *[relative.stem] * (relative.stem != "__init__")]
    text = path.read_text()
    return File(relative.as_posix(), ".".join(parts), text, ast.parse(text))


def _literal(node: ast.expr) -> Any:
    try:
        return ast.literal_eval(node)
    except ValueError:
        return None
