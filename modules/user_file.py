"""``mynet.py`` and ``mynet.py:Net``: files of the user, loaded by their path under a name of no other module."""

from __future__ import annotations

import ast
import hashlib
import importlib
import importlib.util
import inspect
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from ..core.input_path import require_readable
from ..core.nearest import nearest
from ..errors import InputError

if TYPE_CHECKING:
    from torch import nn

FACTORY = "make"
PACKAGE = "__init__.py"
# by what was written, for code that changes the working folder when it is first run
_found: dict[str, Path] = {}
# by module name, when a file of a package was changed that was run
_run: dict[str, int] = {}


def find_file(text: str) -> Path:
    """Return the absolute path of the file that a TARGET names; InputError if there is none."""
    path = Path(text).expanduser()
    if not path.is_file() and text in _found:
        return _found[text]
    if path.is_dir():
        raise InputError(
            f"received {text!r}, a folder; expected a Python file; name the one that holds the module, as {text}/net.py"
        )
    if not os.path.lexists(path):
        beside = [str(found) for found in path.parent.glob("*.py")] if path.parent.is_dir() else []
        raise InputError(
            f"received {text!r}; expected a Python file, found none in {path.parent.absolute()}; "
            f"{nearest(text, beside, 'correct the path, or run from the folder that holds it')}"
        )
    _found[text] = require_readable(path, "a Python file").absolute()
    return _found[text]


def load_file(path: Path) -> ModuleType:
    """Return the file as a module, run again only if the file has changed.

    Its name in ``sys.modules`` comes from the path, so that a file may be called like any package. One with relative
    imports is loaded as a part of its package. Raises InputError if another package of that name comes first.
    """
    if (path.parent / PACKAGE).is_file() and _imports_relatively(path):
        return _in_package(path)
    state = path.stat()
    key = hashlib.sha256(f"{path}\n{state.st_mtime_ns}\n{state.st_size}".encode()).hexdigest()[:12]
    name = f"{re.sub(r'[^0-9A-Za-z_]', '_', path.stem)}_{key}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _imports_relatively(path: Path) -> bool:
    try:
        nodes = ast.walk(ast.parse(path.read_bytes()))
    except (SyntaxError, ValueError):  # to run it tells where
        return False
    return any(isinstance(node, ast.ImportFrom) and node.level > 0 for node in nodes)


def _in_package(path: Path) -> ModuleType:
    """Return the file as the module that its package imports, run again only if the file has changed."""
    root = _root(path)
    outermost, *_ = packages = path.relative_to(root).parent.parts
    found = importlib.import_module(outermost).__file__
    if not found or not Path(found).samefile(root / outermost / PACKAGE):
        raise InputError(
            f"received {path}, whose relative imports need the package {outermost} in {root}; expected this one, got "
            f"{found}; rename the folder, or import from it without dots"
        )
    name = ".".join(packages if path.name == PACKAGE else [*packages, path.stem])
    module, changed = importlib.import_module(name), path.stat().st_mtime_ns
    if _run.setdefault(name, changed) == changed:
        return module
    _run[name] = changed
    return importlib.reload(module)


def _root(path: Path) -> Path:
    """Return the folder that holds the outermost package of a file, that of the file if it is in none."""
    folder = path.parent
    while (folder / PACKAGE).is_file():
        folder = folder.parent
    return folder


@contextmanager
def folders_last(path: Path) -> Iterator[None]:
    """Put the folder of ``path``, that of its package and the current one last on the import path.

    Files beside it are found, and what it imports from its repository; installed packages come first.
    """
    folders = [*dict.fromkeys(map(str, (path.parent, _root(path), Path.cwd())))]
    sys.path += folders
    try:
        yield
    finally:
        for folder in folders:
            if folder in sys.path:
                # from the end: the caller may have it in front
                del sys.path[len(sys.path) - 1 - sys.path[::-1].index(folder)]


def whole_model(module: ModuleType, text: str) -> Any:
    """Return the file's ``make``, else its only nn.Module class without required arguments; InputError otherwise."""
    if hasattr(module, FACTORY):
        return getattr(module, FACTORY)
    classes = _classes(module)
    ready = {name: kind for name, kind in classes.items() if not required(kind)}
    if len(ready) == 1:
        return next(iter(ready.values()))
    needing = [f"{name}({', '.join(required(kind))})" for name, kind in classes.items() if name not in ready]
    found = _listed(text, ready) or (f"{', '.join(needing)} alone" if needing else "no torch.nn.Module in it")
    advice = "name one of them" if ready else f"add a function {FACTORY}() that returns the model"
    raise InputError(
        f"received {text!r}; expected a function {FACTORY}() or one torch.nn.Module class without required arguments, "
        f"found {found}; {advice}"
    )


def only_block(module: ModuleType, text: str) -> Any:
    """Return the file's only nn.Module class, for a block in a backbone; InputError with the candidates otherwise."""
    classes = _classes(module)
    if len(classes) == 1:
        return next(iter(classes.values()))
    raise InputError(
        f"received block {text!r}; expected one torch.nn.Module class in it, found {_listed(text, classes) or 'none'}; "
        f"{'name one of them' if classes else 'write its class there'}"
    )


def required(kind: type[nn.Module]) -> list[str]:
    """Return the names of the arguments that a class cannot do without."""
    kinds = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    parameters = inspect.signature(kind).parameters.values()
    return [item.name for item in parameters if item.default is item.empty and item.kind not in kinds]


def _classes(module: ModuleType) -> dict[str, type[nn.Module]]:
    """The nn.Module classes that the file itself defines, without those with a leading underscore."""
    from torch import nn

    return {
        name: kind
        for name, kind in vars(module).items()
        if isinstance(kind, type)
        and issubclass(kind, nn.Module)
        and kind.__module__ == module.__name__
        and not name.startswith("_")
    }


def _listed(text: str, names: dict[str, type[nn.Module]]) -> str:
    return " and ".join(f"{text}:{name}" for name in names)
