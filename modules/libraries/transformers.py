"""``transformers:NAME``: detectors, segmenters, classifiers and backbones of images or clips, by what the name is.

NAME is a folder with a ``config.json``, a model type (``rt_detr``), a class (``RTDetrForObjectDetection``,
``RTDetrConfig``) or, with --pretrained, a repository of the Hugging Face hub (``owner/name``). Options change the
configuration, or are switches that the model's forward takes (``interpolate_pos_encoding=true``). Nothing is fetched
unless --pretrained asks for it, and no code of a repository is ever run.

transformers, https://github.com/huggingface/transformers, Apache-2.0.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.metadata import version
from typing import Any, ClassVar

import torch
import transformers
from torch import Tensor, nn

from ...core.preprocessing import Preprocessing
from ...errors import InputError
from .configuration import configured
from .image_processor import preprocessing_of, read_by_post_processing
from .library import LibraryModel, keywords_of, parse_value, tensors
from .transformers_source import (
    ATTENTION,
    CLIP,
    PREFIX,
    TASKS,
    Source,
    classes_of,
    find_source,
    image_classes,
    image_input,
    needed,
    quiet,
)

# The answers of heads, beside what the post-processing of an image processor reads. What else there is, training reads.
ANSWERS = (
    *("logits", "pred_boxes", "pred_masks", "class_queries_logits", "masks_queries_logits", "cls_logits"),
    *("distillation_logits", "predicted_depth", "reconstruction", "keypoints", "heatmaps", "feature_maps"),
)
SIDES = {"OBJECT_DETECTION": 640, "UNIVERSAL_SEGMENTATION": 640, "SEMANTIC_SEGMENTATION": 512}
SIDE, FRAMES, PAIR = 224, 16, 2
SIZE, ANY_SIZE = "image_size", "interpolate_pos_encoding"
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
    """A model of images: its answers by transformers' names.

    Subclasses have the name of its input, and ``read``, the outputs that its post-processing reads.
    """

    input_name: ClassVar[str]
    read: ClassVar[frozenset[str]]
    keywords: ClassVar[Mapping[str, Any]] = {}

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        """``(n, c, h, w)``, or what the model calls a clip, to what the head answers."""
        return self.answers(self.whole(image))

    def whole(self, image: Tensor) -> Any:
        """Return the output of the model itself."""
        return super().forward(**{self.input_name: image}, **self.keywords)

    @classmethod
    def answers(cls, output: Any) -> dict[str, Any]:
        """Return the tensors of a model's output that answer something; all of them if it has no head."""
        found = dict(tensors(output))
        return {name: value for name, value in found.items() if name in ANSWERS or name in cls.read} or found


def left_out(module: Any, image: Tensor) -> list[str]:
    """Return, in words, what a model gives beside its answers."""
    with torch.no_grad():
        found = module.whole(image)
    kept = module.answers(found)
    others = [name for name, value in found.items() if name not in kept and value is not None]
    return [f"outputs left out, which post-processing does not read: {', '.join(others)}"] if others else []


def find(name: str, options: Mapping[str, str], *, pretrained: bool) -> LibraryModel:
    """Return a model of transformers; InputError for a name that it does not know or a model of something else."""
    source = find_source(name, pretrained=pretrained)
    kind = source.kind
    _check_kind(kind, name)
    of_forward = {key for key in keywords_of(kind.forward) if not key.startswith(("output_", "return_"))}
    with quiet(online=source.is_hub):
        own = {key: text for key, text in options.items() if key not in of_forward}
        config = configured(source.config, own, PREFIX + name)
    notes = [*_attention(kind), *_switch(config)]
    sizes, preprocessing = _sizes(source, config)
    input_name = image_input(kind)
    read = read_by_post_processing(config.model_type)
    return LibraryModel(
        source=f"transformers {version('transformers')} {kind.__name__}",
        create=lambda: source.create(config),
        inputs={input_name: sizes},
        results=type(Results.__name__, (Results,), {"input_name": input_name, "read": read}),
        keywords={key: parse_value(text) for key, text in options.items() if key in of_forward},
        trained=source.trained,
        preprocessing=preprocessing,
        notes=tuple(notes),
        left_out=left_out,
        digest=source.digest,
        variants=functools.partial(_variants, name, options, config, pretrained, ANY_SIZE in of_forward),
        any_size=f"{ANY_SIZE}=true" if ANY_SIZE in of_forward and ANY_SIZE not in options else "",
    )


def _variants(
    name: str, options: Mapping[str, str], config: Any, pretrained: bool, takes_any: bool, sides: Sequence[int]
) -> dict[str, Callable[[], LibraryModel]]:
    """Return the options that may make a model take images of (height, width): of each part alone, and of all."""
    height, width = sides
    stated = {f"{prefix}{SIZE}": getattr(part, SIZE, None) for prefix, part in _parts(config).items()}
    both = f"{height}/{width}"
    given = {
        key: both if isinstance(size, list | tuple) or height != width else str(height)
        for key, size in stated.items()
        if size is not None
    }
    choices = [*({key: text} for key, text in given.items()), given, *([{ANY_SIZE: "true"}] if takes_any else [])]
    return {
        ",".join(f"{key}={text}" for key, text in choice.items()): functools.partial(
            find, name, {**options, **choice}, pretrained=pretrained
        )
        for choice in choices
        if choice
    }


def _sizes(source: Source, config: Any) -> tuple[tuple[int, ...], Preprocessing | None]:
    """Return the sizes of an input, and the way from a photograph to it, which a clip has none of."""
    task = next((task for task in TASKS if source.kind.__name__ in classes_of(config.model_type, task)), "")
    channels = int(getattr(config, "num_channels", None) or getattr(config, "in_chans", None) or 3)
    frames = _frames(source.kind, config)
    with quiet(online=source.is_hub):
        processor = None if frames else source.processor()
        preprocessing = None if processor is None else preprocessing_of(processor, channels)
    size = (
        _size(config)
        or _size(getattr(config, "vision_config", None))
        or (preprocessing.size[1:] if preprocessing else (SIDES.get(task, SIDE),) * 2)
    )
    return (*frames, channels, *size), preprocessing


def _frames(kind: type[Any], config: Any) -> tuple[int, ...]:
    """Return (t,) of a model of clips or pairs, which are (n, t, c, h, w); () for one of images."""
    if classes_of(config.model_type, "KEYPOINT_MATCHING"):
        return (PAIR,)
    if image_input(kind) != CLIP and not classes_of(config.model_type, "VIDEO_CLASSIFICATION"):
        return ()
    stated = getattr(config, "num_frames", None) or getattr(config, "frames_per_clip", None)
    return (int(stated or FRAMES),)


def _check_kind(kind: type[Any], name: str) -> None:
    """Raise InputError for a model that takes something else than one image tensor."""
    if image_input(kind):
        return
    others = image_classes(kind.__module__)
    instead = f"use {' or '.join(f'{PREFIX}{one}' for one in others)}, or " if others else ""
    raise InputError(
        f"received {PREFIX}{name}, a {kind.__name__} that takes {needed(kind)}; expected a model of pixel_values "
        f"alone; {instead}wrap it in a module of your own: FILE.py or py:package.module:factory"
    )


def _attention(kind: type[Any]) -> list[str]:
    has_choice = getattr(kind, "_supports_sdpa", False)
    return [f"attn_implementation={ATTENTION}: attention is written out"] if has_choice else []


def _parts(config: Any) -> dict[str, Any]:
    """Return a configuration and those inside it, by what is before their keys."""
    inner = {key: value for key, value in vars(config).items() if isinstance(value, transformers.PreTrainedConfig)}
    return {"": config} | {f"{key}.": value for key, value in inner.items()}


def _switch(config: Any) -> Iterator[str]:
    """Set what a graph needs in a configuration and those inside it; yields each change in words."""
    for prefix, part in _parts(config).items():
        for key, (value, why) in SWITCHES.items():
            if hasattr(part, key) and getattr(part, key) not in (value, ()):
                setattr(part, key, value)
                yield f"{prefix}{key}={value}: {why}"


def _size(config: Any) -> tuple[int, int] | None:
    """Return the (height, width) that a configuration is for, if it says it."""
    stated = getattr(config, "image_size", None) or getattr(config, "crop_size", None)
    if isinstance(stated, int):
        return stated, stated
    if isinstance(stated, list | tuple) and len(stated) == 2:
        return int(stated[0]), int(stated[1])
    return None
