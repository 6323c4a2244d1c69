"""Backbones from timm, by name.

timm, Wightman, https://github.com/huggingface/pytorch-image-models, Apache-2.0.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from ...core.manifest import MANIFEST
from ...core.nearest import nearest, nearest_names
from ...core.preprocessing import Interpolation, Resize
from ...errors import InputError
from ..block_index import block_names, one_of
from ..libraries import index as libraries
from .known import KNOWN, Backbone

if TYPE_CHECKING:
    from torch import nn

# timm's crop modes, as its evaluation transforms read them
_RESIZE: Mapping[str, Resize] = {"center": "crop", "squash": "stretch", "border": "letterbox"}
ANY_SIZE: Mapping[str, Mapping[str, Any]] = {"dynamic_img_size=true": {"dynamic_img_size": True}}
# Endings of what holds weights and no module
WEIGHTS = (".pt", ".pth", ".ckpt", ".bin", ".safetensors", ".tar")
PLANS = (".engine", ".plan", ".trt")


def _require_no_path(name: str) -> None:
    """Raise InputError for the path of something that is no target by itself."""
    if not Path(name).exists():
        return
    if (Path(name) / MANIFEST).is_file():
        kind, fix = "a bundle", "name what it was deployed from, as resnet50+cbam"
    elif (Path(name) / "config.json").is_file():
        place = name if name.startswith(("/", ".", "~")) else f"./{name}"
        kind, fix = "a folder with a config.json", f"a model of transformers is transformers:{place}"
    elif Path(name).is_dir():
        kind, fix = "a folder", f"name the file that holds the module, as {name.rstrip('/')}/net.py"
    elif Path(name).suffix in WEIGHTS:
        kind, fix = "a file of weights", f"name the module that they are for, and add --checkpoint {name}"
        fix += f"; a whole network of Ultralytics is ultralytics:{name} --trust" * (Path(name).suffix == ".pt")
    elif Path(name).suffix in PLANS:
        kind, fix = "a TensorRT plan", f"judge it by attn2trt check model.onnx --plan {name} --trust, beside its model"
    elif Path(name).suffix in (".yaml", ".yml"):
        kind, fix = "a file of settings", f"a network of Ultralytics is ultralytics:{name}"
    else:
        kind, fix = "a file without .py, .pt2 or .onnx at its end", "name the file that holds the module, as net.py:Net"
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
        raise InputError(
            f"received target {name!r}; expected a block, a backbone (any timm model), {_libraries()}, "
            f"FILE.py or py:package.module:factory; {_meant(name, ours)}"
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


def _meant(name: str, ours: list[str]) -> str:
    """Return what to write in place of an unknown name: one of ours, of timm's, or of a library, as yolov8n."""
    import timm

    bare = name.lower().replace("-", "_").partition(".")[0]
    models = [(word, model) for word in libraries.LIBRARIES for model in libraries.names(word)]
    known = {model.partition(".")[0].lower(): f"{word}:{model}" for word, model in reversed(models)}
    known |= {model: model for model in timm.list_models()}
    own = [] if bare in known else nearest_names(bare, ours)
    close = own or [known[model] for model in nearest_names(bare, known)]
    return f"did you mean {' or '.join(close)}?" if close else "see attn2trt list"


def _libraries() -> str:
    return f"LIBRARY:NAME of {', '.join(libraries.LIBRARIES)}"


def adapted(backbone: Backbone, arguments: Mapping[str, Any]) -> Backbone:
    """Return a backbone as timm makes it with keyword ``arguments``; InputError for those that it does not take."""
    _check_own(backbone.name, arguments)
    try:
        without_values(backbone.name, arguments)
    except NotImplementedError:  # an architecture that reads a value while it is built
        create(backbone.name, arguments=arguments)
    channels, height, width = backbone.size
    sides = arguments.get("img_size", (height, width))
    height, width = sides if isinstance(sides, list | tuple) else (sides, sides)
    size = int(arguments.get("in_chans", channels)), int(height), int(width)
    return replace(backbone, size=size, arguments=dict(arguments), parameters=None, macs=None)


def _check_own(name: str, arguments: Mapping[str, Any]) -> None:
    """Raise InputError for an argument by which timm itself would read weights, or export."""
    import timm

    own = [key for key in arguments if key in inspect.signature(timm.create_model).parameters or "pretrained" in key]
    if own:
        raise InputError(
            f"received option {own[0]} of backbone {name}; expected keyword arguments of the network, as num_classes "
            "or img_size; leave it out, and give weights with --pretrained or --checkpoint"
        )


def without_values(name: str, arguments: Mapping[str, Any]) -> nn.Module:
    """Return the classifier on the meta device, which takes no time; raises as ``create`` does."""
    import torch

    with torch.device("meta"):
        return create(name, arguments=arguments)


def advice_on_size(backbone: Backbone, height: int, width: int) -> str:
    """Return the options by which timm makes ``backbone`` for images of that size, in words; "" if there are none."""
    side = str(height) if height == width else f"{height}/{width}"
    size = height if height == width else (height, width)
    return _advice(backbone, {f"img_size={side}": {"img_size": size}, **ANY_SIZE})


def advice_on_any_size(backbone: Backbone) -> str:
    """Return the options by which timm makes ``backbone`` for images of any size, in words; "" if there are none."""
    return _advice(backbone, ANY_SIZE)


def _advice(backbone: Backbone, choices: Mapping[str, Mapping[str, Any]]) -> str:
    found = []
    for text, arguments in choices.items():
        try:
            without_values(backbone.name, {**backbone.arguments, **arguments})
        except Exception:  # it has no such argument, or takes no such size
            continue
        found.append(text)
    return f"give {backbone.name} the option {' or '.join(found)}, or " if found else ""


def create(name: str, *, pretrained: bool = False, arguments: Mapping[str, Any] | None = None) -> nn.Module:
    """The classifier itself, on the CPU.

    Raises InputError if its published weights cannot be had, and for ``arguments`` that it does not take.
    """
    import timm

    given = dict(arguments or {})
    try:
        module: nn.Module = timm.create_model(name, pretrained=pretrained, **given)
    except Exception as error:
        reason = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
        if pretrained:
            raise InputError(
                f"received --pretrained for {name}; expected its published weights within reach, got "
                f"{reason}; leave --pretrained out, or give a file with --checkpoint"
            ) from error
        if given and not isinstance(error, NotImplementedError):
            written = ", ".join(f"{key}={value}" for key, value in given.items())
            raise InputError(
                f"received backbone {name} with {written}; expected keyword arguments of timm's {name}, got {reason}; "
                "correct or leave them out; those of a block stand behind the block"
            ) from error
        raise
    return module
