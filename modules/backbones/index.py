"""A backbone by its name: those known here, from timm or from a file of this folder, and any other of timm's."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any

from ...errors import InputError
from . import timm
from .known import KNOWN, Backbone

if TYPE_CHECKING:
    from torch import nn


def find(name: str, arguments: Mapping[str, Any] | None = None) -> Backbone:
    """The backbone of that name, known here or to timm, made with ``arguments``.

    Raises InputError with the nearest names for another one, and for arguments that it does not take.
    """
    found = KNOWN[name] if name in KNOWN else timm.find(name)
    if not arguments:
        return found
    if found.file != "timm":
        raise InputError(
            f"received options {', '.join(arguments)} for backbone {name}; expected none but features_only and "
            "out_indices, since timm does not make it; leave them out, or write those of a block behind the block"
        )
    return timm.adapted(found, arguments)


def create(name: str, *, pretrained: bool = False, arguments: Mapping[str, Any] | None = None) -> nn.Module:
    """The classifier itself, on the CPU, of timm's made with keyword ``arguments``.

    Raises InputError if its published weights cannot be had, and for arguments that it does not take.
    """
    file = KNOWN[name].file if name in KNOWN else "timm"
    if file == "timm":
        return timm.create(name, pretrained=pretrained, arguments=arguments)
    if pretrained:
        raise InputError(
            f"received --pretrained for {name}; expected a backbone of timm's, since no other's weights are fetched; "
            "give the authors' file with --checkpoint"
        )
    module: nn.Module = import_module(f"{__package__}.{file}").create(name)
    return module
