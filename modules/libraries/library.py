"""A library's model as plain data, and the changes that all of them need before they are traced."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ...core.preprocessing import Preprocessing
from ...errors import one_line

if TYPE_CHECKING:
    from torch import nn

NUMBERS = (bool, int, float)
WORDS = {"true": True, "false": False, "none": None}


@dataclass(frozen=True)
class LibraryModel:
    """One model of a library.

    Attributes:
        source: Whose code it is, with the version: "torchvision 0.29.1 deeplabv3_resnet50".
        create: Returns the module in the library's own form, with the library's keys, anew at each call.
        inputs: The sizes of each input without the batch, by its name: (c, h, w) of an image, five with the batch of a
            clip.
        results: The class to stand before the module's own, whose ``forward`` takes the inputs and returns the tensors
            that become outputs, by name. ``keep_results`` puts it there.
        finish: Takes the parts away that no result needs, after weights are loaded and blocks are put in; returns
            what it did, in words.
        is_optional: True for a key of the module that a checkpoint may lack, since ``finish`` takes its part away.
        keywords: Further arguments of the module's own ``forward``, by their names.
        trained: The origin of the weights that ``create`` gives, in words; "" if they are random.
        paper: Where the model is described.
        preprocessing: The way from a photograph to the input; None if the library does not say it.
        notes: What was set for the export, in words.
        left_out: Called with the module and its inputs, returns what the module gives beside ``results``, in words.
        digest: Of the files that ``create`` reads.
        variants: Returns, by each option that may make the model take images of a (height, width), with its value, how
            to find the model with it.
        any_size: The option, with its value, by which it takes images of any size; "" if it needs none, or has none.
    """

    source: str
    create: Callable[[], nn.Module]
    inputs: Mapping[str, tuple[int, ...]]
    results: type[Any]
    finish: Callable[[nn.Module], list[str]] = lambda _: []
    is_optional: Callable[[str], bool] = lambda _: False
    keywords: Mapping[str, Any] = field(default_factory=dict)
    trained: str = ""
    paper: str = ""
    preprocessing: Preprocessing | None = None
    notes: tuple[str, ...] = ()
    left_out: Callable[..., list[str]] = lambda *_: []
    digest: str = ""
    variants: Callable[[Sequence[int]], Mapping[str, Callable[[], LibraryModel]]] = lambda _: {}
    any_size: str = ""


def keep_results(module: nn.Module, results: type[Any], keywords: Mapping[str, Any] | None = None) -> nn.Module:
    """Return ``module``, changed in place, with ``results`` before its own class, which has ``keywords`` to pass on.

    Its parts and its keys keep their paths, which a module around it would not.
    """
    own = type(module)
    members = {"__module__": own.__module__, "__doc__": own.__doc__, "keywords": dict(keywords or {})}
    module.__class__ = type(own.__name__, (results, own), members)
    return module


def keywords_of(forward: Callable[..., Any]) -> frozenset[str]:
    """Return the names of a ``forward``'s arguments that are switches and numbers with a default."""
    found = inspect.signature(forward).parameters.items()
    return frozenset(key for key, one in found if one.default is not one.empty and _is_number(one))


def _is_number(one: inspect.Parameter) -> bool:
    """Return True for an argument whose default is a number or a switch, or is None with a type that says so."""
    if one.default is not None:
        return type(one.default) in NUMBERS
    said = one.annotation if isinstance(one.annotation, str) else inspect.formatannotation(one.annotation)
    words = {*re.findall(r"\w+", said)} - {"None", "Optional", "typing"}
    return bool(words) and words <= {kind.__name__ for kind in NUMBERS}


def parse_value(text: str) -> Any:
    """Return an option's value: a number, true, false or none, a list of those with ``/`` between them, else text."""
    parts = [_literal(part) for part in text.split("/")]
    if len(parts) > 1 and all(not isinstance(part, str) for part in parts):
        return parts
    return _literal(text)


def _literal(text: str) -> Any:
    if text.lower() in WORDS:
        return WORDS[text.lower()]
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text
    return value if isinstance(value, int | float | list | tuple) else text


def tensors(values: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield the entries of what a module returned that are tensors, or hold nothing else."""
    import torch

    for name, value in values.items():
        parts = value if isinstance(value, list | tuple) else [value]
        if parts and all(isinstance(part, torch.Tensor) for part in parts):
            yield name, value


def failure_line(error: BaseException) -> str:
    """Return an exception of a library in one line: its type, and the beginning of its message."""
    return f"{type(error).__name__}: {one_line(error, 300)}"
