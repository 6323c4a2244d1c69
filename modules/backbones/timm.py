"""Backbones from timm, by name.

timm, Wightman, https://github.com/huggingface/pytorch-image-models, Apache-2.0.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, cast

from ...core.preprocessing import Interpolation, Resize
from ...errors import InputError
from ..block_index import block_names, nearest, one_of
from ..libraries.index import LIBRARIES
from .known import KNOWN, Backbone

if TYPE_CHECKING:
    from torch import nn

# timm's crop modes, as its evaluation transforms read them
_RESIZE: Mapping[str, Resize] = {"center": "crop", "squash": "stretch", "border": "letterbox"}
# Endings of what holds weights and no module
WEIGHTS = (".pt", ".pth", ".ckpt", ".bin", ".safetensors", ".tar")


def _require_no_path(name: str) -> None:
    """Raise InputError for the path of something that is no target by itself."""
    if not Path(name).exists():
        return
    if Path(name).is_dir():
        kind, fix = "a folder", f"name the file that holds the module, as {name.rstrip('/')}/net.py"
    elif Path(name).suffix in WEIGHTS:
        kind, fix = "a file of weights", f"name the module that they are for, and add --checkpoint {name}"
    else:
        kind, fix = "a file without .py or .onnx at its end", "name the file that holds the module, as net.py:Net"
    raise InputError(
        f"received target {name!r}, {kind}; expected a block, a backbone, a Python file or an ONNX file; {fix}"
    )


def find(name: str) -> Backbone:
    """Return a backbone by its name, from timm's configuration if ``KNOWN`` has none of it.

    Raises InputError, with the nearest names, if timm has none either.
    """
    ours = [*KNOWN, *block_names()]
    try:
        import timm
    except ImportError as error:
        raise InputError(
            f"received target {name!r}; expected {one_of(ours)}; "
            f"{nearest(name, ours, 'for any other timm model: pip install timm')}"
        ) from error

    if ":" in name or "/" in name or not timm.is_model(name.split(".", maxsplit=1)[0]):
        _require_no_path(name)
        close = nearest(name, ours, "") or nearest(name, timm.list_models(), "see attn2trt list")
        raise InputError(
            f"received target {name!r}; expected a block, a backbone (any timm model), {_libraries()}, "
            f"FILE.py or py:package.module:factory; {close}"
        )
    try:
        config = timm.get_pretrained_cfg(name, allow_unregistered=False)
    except RuntimeError as error:
        raise InputError(f"received backbone {name!r}; {error}; leave out what follows the dot") from error
    if config is None:
        return Backbone(name, name)
    channels, height, width = config.input_size
    return Backbone(
        name,
        name,
        size=(channels, height, width),
        mean=tuple(config.mean),
        std=tuple(config.std),
        interpolation="bilinear" if config.interpolation == "random" else cast(Interpolation, config.interpolation),
        crop=config.crop_pct,
        resize=_RESIZE[config.crop_mode],
    )


def _libraries() -> str:
    return f"LIBRARY:NAME of {', '.join(LIBRARIES)}"


def create(name: str, *, pretrained: bool = False) -> nn.Module:
    """The classifier itself, on the CPU; InputError if its published weights cannot be had."""
    import timm

    try:
        module: nn.Module = timm.create_model(name, pretrained=pretrained)
    except Exception as error:
        if not pretrained:
            raise
        reason = " ".join(str(error).split())[:200]
        raise InputError(
            f"received --pretrained for {name}; expected its published weights within reach, got "
            f"{type(error).__name__}: {reason}; leave --pretrained out, or give a file with --checkpoint"
        ) from error
    return module
