"""The TARGET grammar: ``BASE[:options][+BLOCK[:options][@place,place]]…`` as plain data.

BASE is a block, a backbone, ``LIBRARY:NAME``, ``file.py``, ``file.py:factory``, ``py:package.module:factory`` or
``file.pt2``; BLOCK is a block, ``file.py:Class`` or ``py:package.module:Class``. A place is ``stageN``, a module path,
or a glob over module paths.
A backbone's options choose feature maps for outputs, ``resnet50:features_only=true,out_indices=2/3/4``, or are keyword
arguments of timm's, ``resnet50:num_classes=10``. Those of a library's model are what the library takes:
``torchvision:deeplabv3_resnet50:num_classes=4``.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ..core.input_path import is_there
from ..errors import InputError
from .block_index import block_names
from .libraries.index import library_of

EXAMPLE = "resnet50+eca:k=3@stage3,stage4"
ONNX = "onnx:"
_PLUS = re.compile(r"(?<![\d.][eE])\+|\+(?!\d)")


@dataclass(frozen=True)
class Part:
    """One name with its options and places, as written."""

    name: str
    options: Mapping[str, str] = field(default_factory=dict)
    places: tuple[str, ...] = ()

    @property
    def is_user_code(self) -> bool:
        """Return True for ``py:package.module:attribute``, ``file.py`` and ``file.pt2``."""
        return self.name.startswith("py:") or is_file(self.name) or is_program(self.name)

    @property
    def library(self) -> str:
        """The library of ``LIBRARY:NAME``; "" for any other name."""
        return library_of(self.name)

    @property
    def without_places(self) -> str:
        """The name with its options, as they are written."""
        options = ",".join(f"{name}={value}" for name, value in self.options.items())
        return f"{self.name}:{options}" if options else self.name


@dataclass(frozen=True)
class Parsed:
    """A whole TARGET."""

    base: Part
    insertions: tuple[Part, ...]

    @property
    def has_user_code(self) -> bool:
        """Return True if the base or a block in it is the user's own."""
        return any(part.is_user_code for part in (self.base, *self.insertions))


def parse(spec: str) -> Parsed:
    """Split a TARGET into its parts; InputError if it does not follow the grammar."""
    if onnx_path(spec) is not None:
        raise InputError(
            f"received {spec!r}; an existing ONNX graph is not supported by this command; "
            "expected a block, a backbone, FILE.py or py:package.module:factory; name the module that it came from"
        )
    is_path = is_folder_path(spec) and is_there(Path(spec), "folder")  # a bundle's may have the + of its target
    parts = [_part(text, spec) for text in ([spec] if is_path else parts_of(spec))]
    if parts[0].places:
        raise InputError(
            f"received {spec!r} with a place after {parts[0].name}; expected places after a block in a backbone; "
            f"write it as in {EXAMPLE}"
        )
    return Parsed(parts[0], tuple(parts[1:]))


def parts_of(spec: str) -> list[str]:
    """Return what stands between the ``+``, but for one in the path of a file that is there or in ``1e+5``."""
    pieces, found = _PLUS.split(spec), []
    while pieces:
        end = next((end for end in range(1, len(pieces) + 1) if _is_there("+".join(pieces[:end]))), 1)
        found.append("+".join(pieces[:end]))
        del pieces[:end]
    return found


def _is_there(text: str) -> bool:
    file = text.partition("@")[0].partition(":")[0]
    return (is_file(file) or is_program(file)) and Path(file).is_file()


def onnx_path(spec: str) -> Path | None:
    """Return the path in ``onnx:model.onnx``, or in a TARGET that ends in .onnx; None for every other one.

    No block, no backbone and no attribute of a module has a name that ends so.
    """
    if spec.startswith(ONNX):
        return Path(spec.removeprefix(ONNX))
    return Path(spec) if spec.endswith(".onnx") and not spec.startswith("py:") else None


def is_folder_path(spec: str) -> bool:
    """Return True for what looks like the path of a folder: it has a slash, which is not in an option or a file."""
    names_file = is_file(spec) or is_program(spec) or onnx_path(spec) is not None
    return "/" in spec and ":" not in spec and not names_file


def is_file(name: str) -> bool:
    """Return True for the name of a Python file, with an attribute behind it or not."""
    return name.partition(":")[0].endswith(".py")


def is_program(name: str) -> bool:
    """Return True for the name of a program that torch.export saved."""
    return name.endswith(".pt2")


def _part(text: str, spec: str) -> Part:
    head, at, places = text.partition("@")
    fields = head.split(":")
    name_fields = _name_fields(fields)
    name = ":".join(fields[:name_fields])
    options = fields[name_fields:]
    if fields[0] == "py" and len(fields) > 1 and is_file(fields[1]):
        raise InputError(
            f"received {text!r} in target {spec!r}; expected a file without py:; write {':'.join(fields[1:])}"
        )
    if fields[0] == "timm" and len(fields) > 1:
        raise InputError(
            f"received {text!r} in target {spec!r}; expected a timm model by its bare name; "
            f"write {':'.join(fields[1:])}"
        )
    if not all(fields) or len(options) > 1 or len(fields) < name_fields:
        expected = {1: "NAME:option=value,option=value", 2: "file.py:name", 3: "py:package.module:name"}[name_fields]
        if library := library_of(text):
            expected = f"{library}:NAME, or {library}:NAME:option=value,option=value"
        raise InputError(f"received {text!r} in target {spec!r}; expected {expected}; {_write(fields)}")
    place_list = tuple(places.split(",")) if at else ()
    if not all(place_list):
        raise InputError(
            f"received {text!r} with an empty place in target {spec!r}; expected @place,place; write it as in {EXAMPLE}"
        )
    return Part(name, _options(options[0], text) if options else {}, place_list)


def _write(fields: Sequence[str]) -> str:
    """Return how to write a part, with ``py:`` if it may be a module's import name."""
    names = fields[1:] if fields[0] == "py" else fields
    module, dot, name = ".".join(names).rpartition(".")
    is_import = dot and "." in names[0] and all(step.isidentifier() for step in (*module.split("."), name))
    own = f"py:{module}:{name}"
    if fields[0] == "py" and is_import:
        return f"write {own}"
    if len(fields) == 2 and not is_import and "=" not in fields[1] and fields[0] not in block_names():
        return f"write it as in {EXAMPLE}; for a model of another library, FILE.py with a make() that returns it"
    return f"write it as in {EXAMPLE}{f', or {own} for a module of your own' if is_import else ''}"


def _name_fields(fields: Sequence[str]) -> int:
    """Return how many of the parts between colons are the name."""
    if fields[0] == "py":
        return 3
    if library_of(":".join(fields)):
        return 2
    return 2 if is_file(fields[0]) and len(fields) > 1 and "=" not in fields[1] else 1


def _options(text: str, part: str) -> dict[str, str]:
    options: dict[str, str] = {}
    for pair in text.split(","):
        name, equals, value = pair.partition("=")
        if not (name and equals and value) or name in options:
            raise InputError(
                f"received {pair!r} in {part!r}; expected option=value, each option once; {_write(part.split(':'))}"
            )
        options[name] = value
    return options


def steps_match(path: Sequence[str], pattern: Sequence[str]) -> bool:
    """Return True if a module path fits a glob, both split at dots: ``*`` is one part, ``**`` any number of parts."""
    if not pattern:
        return not path
    if pattern[0] == "**":
        return any(steps_match(path[skipped:], pattern[1:]) for skipped in range(len(path) + 1))
    return bool(path) and fnmatch.fnmatchcase(path[0], pattern[0]) and steps_match(path[1:], pattern[1:])
