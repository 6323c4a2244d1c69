"""A backbone by its name: those known here, from timm or from a file of this folder, and any other of timm's."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from ...errors import InputError
from . import timm
from .known import KNOWN, Backbone

if TYPE_CHECKING:
    from torch import nn


def find(name: str) -> Backbone:
    """The backbone of that name, known here or to timm; InputError with the nearest names otherwise."""
    return KNOWN[name] if name in KNOWN else timm.find(name)


def create(name: str, *, pretrained: bool = False) -> nn.Module:
    """The classifier itself, on the CPU; InputError if its published weights cannot be had."""
    file = KNOWN[name].file if name in KNOWN else "timm"
    if file == "timm":
        return timm.create(name, pretrained=pretrained)
    if pretrained:
        raise InputError(
            f"received --pretrained for {name}; expected a backbone of timm's, since no other's weights are fetched; "
            "give the authors' file with --checkpoint"
        )
    module: nn.Module = import_module(f"{__package__}.{file}").create(name)
    return module
