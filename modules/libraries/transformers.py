"""``transformers:NAME``: detectors, segmenters, classifiers and backbones of images, by what the name is.

NAME is a folder with a ``config.json``, a model type (``rt_detr``), a class (``RTDetrForObjectDetection``,
``RTDetrConfig``) or, with --pretrained, a repository of the Hugging Face hub (``owner/name``). Options change the
configuration. Nothing is fetched unless --pretrained asks for it, and no code of a repository is ever run.

transformers, https://github.com/huggingface/transformers, Apache-2.0.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from importlib.metadata import version
from typing import Any

import torch
import transformers
from torch import Tensor, nn

from ...errors import InputError
from .configuration import configured
from .image_processor import preprocessing_of
from .library import LibraryModel, tensors
from .transformers_source import ATTENTION, PREFIX, TASKS, classes_of, find_source, quiet

INPUT = "pixel_values"
# The answers of heads, which their post-processing reads. What stands beside them is there for training.
ANSWERS = (
    *("logits", "pred_boxes", "pred_masks", "class_queries_logits", "masks_queries_logits", "cls_logits"),
    *("distillation_logits", "predicted_depth", "reconstruction", "keypoints", "heatmaps", "feature_maps"),
)
SIDES = {"OBJECT_DETECTION": 640, "UNIVERSAL_SEGMENTATION": 640, "SEMANTIC_SEGMENTATION": 512}
SIDE = 224
# Attributes of a configuration and their values in a graph, with the reason; left alone if they are so already.
SWITCHES: Mapping[str, tuple[Any, str]] = {
    "return_dict": (True, "outputs have names"),
    "output_hidden_states": (False, "they are there for training"),
    "output_attentions": (False, "they are there for training"),
    "auxiliary_loss": (False, "the outputs of inner layers are there for training"),
    "use_auxiliary_head": (False, "it is there for training"),
    "anchor_image_size": (None, "anchors are computed for the size of the input"),
    "eval_size": (None, "position embeddings are computed for the size of the input"),
    "disable_custom_kernels": (True, "deformable attention by PyTorch's own operators"),
    "use_pretrained_backbone": (False, "nothing is fetched"),
}


class Results(nn.Module):
    """A model of images: its answers by transformers' names."""

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        """``(n, c, h, w)`` to what the head answers."""
        return answers(super().forward(pixel_values=image))


def answers(output: Any) -> dict[str, Any]:
    """Return the tensors of a model's output that answer something; all of them if it has no head."""
    found = dict(tensors(output))
    return {name: found[name] for name in ANSWERS if name in found} or found


def left_out(module: Any, image: Tensor) -> list[str]:
    """Return, in words, what a model gives beside its answers."""
    with torch.no_grad():
        found = super(Results, module).forward(pixel_values=image)
    kept = answers(found)
    others = [name for name, value in found.items() if name not in kept and value is not None]
    return [f"outputs left out, which post-processing does not read: {', '.join(others)}"] if others else []


def find(name: str, options: Mapping[str, str], *, pretrained: bool) -> LibraryModel:
    """Return a model of transformers; InputError for a name that it does not know or a model of something else."""
    source = find_source(name, pretrained=pretrained)
    config, kind = source.config, source.kind
    with quiet(online=source.is_hub):
        config = configured(config, options, PREFIX + name)
    _check_kind(kind, name)
    notes = [*_attention(kind), *_switch(config)]
    task = next((task for task in TASKS if kind.__name__ in classes_of(config.model_type, task)), "")
    channels = int(getattr(config, "num_channels", None) or 3)
    with quiet(online=source.is_hub):
        processor = source.processor()
        preprocessing = None if processor is None else preprocessing_of(processor, channels)
    size = _size(config) or (preprocessing.size[1:] if preprocessing else (SIDES.get(task, SIDE),) * 2)
    return LibraryModel(
        source=f"transformers {version('transformers')} {kind.__name__}",
        create=lambda: source.create(config),
        size=(channels, *size),
        results=Results,
        input_name=INPUT,
        trained=source.trained,
        preprocessing=preprocessing,
        notes=tuple(notes),
        left_out=left_out,
        digest=source.digest,
    )


def _check_kind(kind: type[Any], name: str) -> None:
    """Raise InputError for a model that takes something else than one image tensor."""
    parameters = inspect.signature(kind.forward).parameters
    kinds = (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)
    needed = [
        key
        for key, one in parameters.items()
        if key not in ("self", INPUT) and one.default is one.empty and one.kind not in kinds
    ]
    if INPUT not in parameters or needed or getattr(kind, "main_input_name", INPUT) != INPUT:
        takes = ", ".join(needed) or getattr(kind, "main_input_name", "something else")
        raise InputError(
            f"received {PREFIX}{name}, a {kind.__name__} that takes {takes}; expected a model of {INPUT} alone; "
            "wrap it in a module of your own: FILE.py or py:package.module:factory"
        )


def _attention(kind: type[Any]) -> list[str]:
    has_choice = getattr(kind, "_supports_sdpa", False)
    return [f"attn_implementation={ATTENTION}: attention is written out"] if has_choice else []


def _switch(config: Any) -> Iterator[str]:
    """Set what a graph needs in a configuration and those inside it; yields each change in words."""
    parts = {"": config} | {
        f"{key}.": value for key, value in vars(config).items() if isinstance(value, transformers.PreTrainedConfig)
    }
    for prefix, part in parts.items():
        for key, (value, why) in SWITCHES.items():
            if hasattr(part, key) and getattr(part, key) not in (value, ()):
                setattr(part, key, value)
                yield f"{prefix}{key}={value}: {why}"


def _size(config: Any) -> tuple[int, int] | None:
    """Return the (height, width) that a configuration is for, if it says it."""
    stated = getattr(config, "image_size", None)
    if isinstance(stated, int):
        return stated, stated
    if isinstance(stated, list | tuple) and len(stated) == 2:
        return int(stated[0]), int(stated[1])
    return None
