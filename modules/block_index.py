"""The blocks and their options, read from the files' text: no torch is imported for it."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..core.nearest import nearest
from ..errors import InputError
from . import blocks

if TYPE_CHECKING:
    from torch import nn

OptionValue = int | float | bool | str | None
ALL_AXES = ("batch", "height", "width")


@dataclass(frozen=True)
class Option:
    """One keyword-only argument of a block: its name, the annotation as written, and its default."""

    name: str
    annotation: str
    default: OptionValue

    def parse(self, text: str, block: str) -> OptionValue:
        """The option's value from its text on a command line; InputError if it is not of the option's type."""
        types = [part.strip() for part in self.annotation.split("|")]
        if "None" in types and text.lower() in ("none", "auto"):
            return None
        for kind in types:
            value: OptionValue = _READERS.get(kind, lambda _: None)(text)
            if value is not None:
                return value
        raise InputError(
            f"received {text!r} for option {self.name} of {block}; expected {self.annotation}; "
            f"write {block}:{self.name}={self.default}"
        )


@dataclass(frozen=True)
class BlockInfo:
    """The facts that a block's file states about itself."""

    name: str
    path: Path
    class_name: str
    summary: str
    paper: str
    options: tuple[Option, ...]
    replaces_conv3x3: bool
    year: int | None = None
    axes: tuple[str, ...] = ALL_AXES
    own_norm: bool = False

    @property
    def has_groups(self) -> bool:
        """Return True if its convolutions have groups of their own choice."""
        return any(option.name == "groups" for option in self.options)

    @property
    def fixed_size(self) -> bool:
        """Return True if its weights belong to one height and width."""
        return "height" not in self.axes

    def parse_options(self, texts: Mapping[str, str]) -> dict[str, OptionValue]:
        """Values for the constructor; InputError names an unknown option and the nearest known one."""
        known = {option.name: option for option in self.options}
        for name in texts:
            if name not in known:
                raise InputError(
                    f"received option {name!r} for {self.name}; "
                    f"expected {one_of(known, 'no option')}; {nearest(name, known, 'leave it out')}"
                )
        return {name: known[name].parse(text, self.name) for name, text in texts.items()}

    def create(self, *widths: int, size: tuple[int, int], options: Mapping[str, OptionValue]) -> nn.Module:
        """The block for its channels, and where it replaces a convolution the channels that it gives and its stride.

        ``size`` is the height and width of its input, which only a block of one size looks at.
        """
        own = {"size": size} if self.fixed_size else {}
        return self.load()(*widths, **own, **options)

    def load(self) -> type[nn.Module]:
        """The block's class; this imports torch."""
        module = import_module(f"{blocks.__name__}.{self.name}")
        loaded: type[nn.Module] = getattr(module, self.class_name)
        return loaded


def block_names() -> list[str]:
    """Every block's name in alphabetical order."""
    return sorted(_files())


def block_info(name: str) -> BlockInfo:
    """The block of that name; InputError with the nearest names otherwise."""
    files = _files()
    if name not in files:
        raise InputError(
            f"received block {name!r}; expected {one_of(block_names())}; {nearest(name, files, 'see attn2trt list')}"
        )
    path = files[name]
    return _read(path, path.stat().st_mtime_ns)


def one_of(names: Iterable[str], nothing: str = "a name") -> str:
    """``one of a, b, c`` for a message."""
    listed = ", ".join(sorted(names))
    return f"one of {listed}" if listed else nothing


def _files() -> dict[str, Path]:
    folders = [Path(folder) for folder in blocks.__path__]
    paths = (path for folder in folders for path in sorted(folder.glob("*.py")))
    return {path.stem: path for path in paths if not path.stem.startswith("_")}


@lru_cache(maxsize=256)
def _read(path: Path, _modified_ns: int) -> BlockInfo:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    doc = ast.get_docstring(tree) or ""
    classes = [node for node in tree.body if isinstance(node, ast.ClassDef) and not node.name.startswith("_")]
    if len(classes) != 1:
        raise InputError(
            f"received {path.name} with {len(classes)} public classes; expected one, the block; "
            "rename the others to _Name"
        )
    link = re.search(r"https?://[^\s,;)]+", doc)
    return BlockInfo(
        name=path.stem,
        path=path,
        class_name=classes[0].name,
        summary=doc.splitlines()[0].rstrip(".") if doc else path.stem,
        paper=link.group().rstrip(".:") if link else "",
        options=tuple(_options(classes[0])),
        replaces_conv3x3=_constant(tree, "REPLACES_CONV3X3") is True,
        year=_year(doc),
        axes=tuple(_constant(tree, "AXES") or ALL_AXES),
        own_norm=_constant(tree, "OWN_NORM") is True,
    )


def _year(doc: str) -> int | None:
    """The year of publication: the venue's, or that of the arXiv number."""
    venue = re.search(r"\b(?:19|20)\d\d\b(?!\.)", doc)
    arxiv = re.search(r"arxiv\.org/abs/(\d\d)\d\d\.", doc)
    return int(venue.group()) if venue else 2000 + int(arxiv[1]) if arxiv else None


def _options(block: ast.ClassDef) -> Iterable[Option]:
    for node in block.body:
        if isinstance(node, ast.FunctionDef) and node.name == "__init__":
            for argument, default in zip(node.args.kwonlyargs, node.args.kw_defaults, strict=True):
                annotation = ast.unparse(argument.annotation) if argument.annotation else "str"
                yield Option(argument.arg, annotation, ast.literal_eval(default) if default else None)


def _constant(tree: ast.Module, name: str) -> Any:
    for node in tree.body:
        if isinstance(node, ast.Assign) and any(isinstance(at, ast.Name) and at.id == name for at in node.targets):
            return ast.literal_eval(node.value)
    return None


def _int(text: str) -> int | None:
    return int(text) if re.fullmatch(r"[+-]?\d+", text) else None


def _float(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _bool(text: str) -> bool | None:
    return {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}.get(text.lower())


_READERS: dict[str, Any] = {"int": _int, "float": _float, "bool": _bool, "str": str}
