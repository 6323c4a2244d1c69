"""The image processor of a model of transformers as the preprocessing of a manifest."""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping
from typing import Any, cast

from ...core.preprocessing import BYTE, Interpolation, Preprocessing, Resize

_LONGEST, _SHORTEST = "longest_edge", "shortest_edge"
# what a post-processing reads of a model's output: ``outputs.logits``, ``outputs["logits"]``
_READ = re.compile(r"\boutputs?(?:\.(\w+)|\[[\"'](\w+)[\"']\])")


def default_processor(model_type: str) -> Any:
    """Return the processor that transformers has for a model type, with its defaults; None if it has none."""
    kind = _processor_class(model_type)
    try:
        return None if kind is None else kind()
    except TypeError:  # one that is read from a file of its own, and has no defaults
        return None


def read_by_post_processing(model_type: str) -> frozenset[str]:
    """Return the names of a model's outputs that the post-processing of its image processor reads."""
    kind = _processor_class(model_type)
    names = [name for name in dir(kind) if "post_process" in name] if kind else []
    found = "\n".join(inspect.getsource(getattr(kind, name)) for name in names)
    return frozenset(first or second for first, second in _READ.findall(found))


def _processor_class(model_type: str) -> Any:
    from transformers.models.auto.image_processing_auto import (
        IMAGE_PROCESSOR_MAPPING_NAMES,
        get_image_processor_class_from_name,
    )

    names = IMAGE_PROCESSOR_MAPPING_NAMES.get(model_type)
    if not names:
        return None
    choices = [*names.values()] if isinstance(names, Mapping) else list(names)
    name = next((one for one in choices if one and not one.endswith("Pil")), None) or next(filter(None, choices), None)
    return get_image_processor_class_from_name(name) if name else None


def preprocessing_of(processor: Any, channels: int) -> Preprocessing | None:
    """Return what a processor does to a photograph, with the size of the input; None for one that has no size."""
    stated: dict[str, Any] = processor.to_dict()
    target = _sides(stated.get("crop_size")) if stated.get("do_center_crop") else None
    resized = _sides(stated.get("size"))
    size = target or _sides(stated.get("pad_size")) or resized
    if size is None or resized is None:
        return None
    keeps_ratio = isinstance(stated["size"], Mapping) and bool({_SHORTEST, _LONGEST} & {*stated["size"]})
    mean = tuple(map(float, stated.get("image_mean") or ())) if stated.get("do_normalize") else ()
    std = tuple(map(float, stated.get("image_std") or ())) if stated.get("do_normalize") else ()
    share = stated.get("crop_pct") if keeps_ratio and target is None else None
    resize = "letterbox" if keeps_ratio and stated.get("do_pad") else "crop" if target or keeps_ratio else "stretch"
    resample = getattr(stated.get("resample"), "name", "BILINEAR").lower()
    return Preprocessing(
        resize=cast(Resize, resize),
        crop=min(1.0, min(size) / min(resized)) if target else float(share or 1.0),
        interpolation=cast(Interpolation, resample),
        pad=tuple(min(255.0, 255 * value) for value in mean) if resize == "letterbox" and mean else (0.0,),
        anchor="top-left" if resize == "letterbox" else "center",
        scale=float(stated.get("rescale_factor") or BYTE) if stated.get("do_rescale") else 1.0,
        mean=mean,
        std=std,
        order="BGR" if stated.get("do_flip_channel_order") else "RGB",
        size=(channels, *size),
    )


def _sides(size: Any) -> tuple[int, int] | None:
    """Return (height, width) of a processor's size: the shorter edge for both if it gives no more."""
    if isinstance(size, int):
        return size, size
    if not isinstance(size, Mapping):
        return None
    edge = size.get(_SHORTEST) or size.get(_LONGEST)
    height, width = size.get("height") or edge, size.get("width") or edge
    return (int(height), int(width)) if height and width else None
