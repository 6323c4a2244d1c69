"""``torchvision:NAME``: classifiers of images and of clips, segmenters, optical flow, heads of one-stage detectors.

torchvision, https://github.com/pytorch/vision, BSD-3-Clause. Options are the keyword arguments of the model's own
function, as ``torchvision:lraspp_mobilenet_v3_large:num_classes=4``, and switches and numbers that the model's forward
takes, as ``torchvision:raft_small:num_flow_updates=4``. ``quantized_NAME`` is the network in float32 that torchvision
would quantise.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import warnings
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any, ClassVar

import torch
import torchvision
from torch import Tensor, nn
from torchvision.models import _api, get_model_builder, get_model_weights, list_models
from torchvision.models.detection import FCOS, RetinaNet
from torchvision.models.detection.ssd import SSD
from torchvision.models.optical_flow import RAFT

from ...core.nearest import nearest
from ...core.preprocessing import Preprocessing
from ...errors import InputError
from .library import LibraryModel, failure_line, keywords_of, parse_value

PREFIX = "torchvision:"
AUX = "aux_classifier"
# of classifiers, which run them in training alone
TRAINING_HEADS = ("aux1", "aux2", "AuxLogits")
QUANTIZED = "quantized_"
# what would fetch weights past --pretrained
OF_WEIGHTS = ("weights", "weights_backbone", "pretrained", "pretrained_backbone", "progress")
ONE_STAGE = (RetinaNet, SSD, FCOS)
IMAGE = 224
FRAMES = 16  # all of torchvision's take so many, and MViT no others
FLOW = 128  # the least that the correlation pyramid of RAFT takes
KINDS = {
    "segmentation": torchvision.models.segmentation,
    "detection": torchvision.models.detection,
    "video": torchvision.models.video,
    "flow": torchvision.models.optical_flow,
}
# what a two-stage detector is for, by what its name begins with, and what does the same in one stage
ONE_STAGE_INSTEAD = {
    "mask": "transformers:Mask2FormerForUniversalSegmentation or ultralytics:yolo11n-seg.yaml",
    "keypoint": "transformers:VitPoseForPoseEstimation or ultralytics:yolo11n-pose.yaml",
    "": "torchvision:retinanet_resnet50_fpn_v2 or torchvision:fcos_resnet50_fpn, or a DETR of transformers",
}


class Logits(nn.Module):
    """A classifier: its scores as ``logits``."""

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        """An image ``(n, c, h, w)`` or a clip ``(n, c, t, h, w)`` to ``(n, classes)``."""
        return {"logits": super().forward(image)}


class Flow(nn.Module):
    """An estimator of optical flow: the last of its updates as ``flow``."""

    keywords: ClassVar[Mapping[str, Any]] = {}

    def forward(self, image1: Tensor, image2: Tensor) -> dict[str, Tensor]:
        """Two frames ``(n, c, h, w)`` to ``(n, 2, h, w)``, pixels to the right and down from the first."""
        return {"flow": super().forward(image1, image2, **self.keywords)[-1]}


class Maps(nn.Module):
    """A segmenter: a map of scores for each of its heads, by torchvision's names."""

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        """``(n, c, h, w)`` to ``(n, classes, h, w)`` each."""
        return dict(super().forward(image))


class HeadAlone(nn.Module):
    """A one-stage detector up to its head: for each anchor its scores and the box relative to it."""

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        """``(n, c, h, w)`` to ``(n, anchors, classes)``, ``(n, anchors, 4)`` and, of FCOS, ``(n, anchors, 1)``."""
        detector: Any = self
        return dict(detector.head(list(detector.backbone(image).values())))


RESULTS: Mapping[str, type[Any]] = {
    "classification": Logits,
    "segmentation": Maps,
    "detection": HeadAlone,
    "video": Logits,
    "flow": Flow,
}
NOTES: Mapping[str, tuple[str, ...]] = {
    "detection": (
        "the head before the suppression of overlaps: scores and boxes relative to the anchors, for every anchor",
        "resizing and normalisation, which the detector does in its forward, are left to the preprocessing",
    ),
    "video": ("a clip is (n, c, t, h, w), its frames resized, cropped and normalised as torchvision's weights say",),
    "flow": ("flow is the last of the updates; both frames are scaled to -1 to 1, as torchvision's weights say",),
}


def names() -> list[str]:
    """Return the names of torchvision's models."""
    return [*list_models()]


def find(name: str, options: Mapping[str, str], *, pretrained: bool) -> LibraryModel:
    """Return a model of torchvision's; InputError for an unknown one, and for one that cannot be deployed."""
    _check_name(name)
    kind = _kind(name)
    values = {key: parse_value(text) for key, text in options.items()}
    _check_options(name, values)
    of_forward = _of_forward(kind)
    build = _Builder(name, {key: value for key, value in values.items() if key not in of_forward}, kind)
    shape = build.shape()
    if kind == "detection" and not isinstance(shape, ONE_STAGE):
        instead = next(text for start, text in ONE_STAGE_INSTEAD.items() if name.startswith(start))
        raise InputError(
            f"received {PREFIX}{name}, a two-stage detector: its second stage crops by boxes that are left after a "
            "suppression of overlaps, and it returns a list of dicts; expected a head before suppression; "
            f"use {instead}"
        )
    weights = get_model_weights(name.removeprefix(QUANTIZED)).DEFAULT  # in float32
    preprocessing = _preprocessing(kind, shape, weights)
    return LibraryModel(
        source=f"torchvision {version('torchvision')} {name}",
        create=functools.partial(build, weights if pretrained else None),
        inputs=_inputs(kind, weights, preprocessing),
        results=RESULTS[kind],
        keywords={key: value for key, value in values.items() if key in of_forward},
        finish=_without_aux if build.drops_aux else _without_training_heads,
        is_optional=lambda key: key.partition(".")[0] in ((AUX,) if build.drops_aux else TRAINING_HEADS),
        trained=f"torchvision's published weights {weights} of {name}" if pretrained else "",
        preprocessing=preprocessing,
        notes=NOTES.get(kind, ()),
        variants=functools.partial(_variants, shape, name, options, pretrained),
    )


def _variants(
    shape: nn.Module, name: str, options: Mapping[str, str], pretrained: bool, sides: Sequence[int]
) -> dict[str, Callable[[], LibraryModel]]:
    if not hasattr(shape, "image_size"):
        return {}
    found = {**options, "image_size": "/".join(map(str, dict.fromkeys(sides)))}
    return {f"image_size={found['image_size']}": functools.partial(find, name, found, pretrained=pretrained)}


def _of_forward(kind: str) -> Collection[str]:
    """Return the names of options that go to the forward of a model of this kind."""
    return keywords_of(RAFT.forward) if kind == "flow" else ()


def _preprocessing(kind: str, shape: nn.Module, weights: Any) -> Preprocessing | None:
    """Return the way from a photograph to the input; None for what takes more than one photograph."""
    if kind in ("video", "flow"):
        return None
    return _detector_image(shape) if kind == "detection" else _image(shape, weights)


def _inputs(kind: str, weights: Any, preprocessing: Preprocessing | None) -> dict[str, tuple[int, ...]]:
    if kind == "flow":
        return dict.fromkeys(("image1", "image2"), (3, FLOW, FLOW))
    if preprocessing is None:
        return {"clip": (3, FRAMES, *weights.transforms().crop_size)}
    return {"image": preprocessing.size}


def _check_name(name: str) -> None:
    known = names()
    if name not in known:
        raise InputError(
            f"received target {PREFIX}{name}; expected one of the {len(known)} models of torchvision "
            f"{version('torchvision')}; {nearest(name, known, 'torchvision.models.list_models() has them')}"
        )


def _check_options(name: str, values: Mapping[str, Any]) -> None:
    if values.get("quantize") and name.startswith(QUANTIZED):
        raise InputError(
            f"received {PREFIX}{name} with quantize={values['quantize']}, which computes by PyTorch's own int8 "
            f"kernels, which have no ONNX form; expected a model in float32; use {PREFIX}{name}, with --precision int8"
        )
    if own := [key for key in values if key in OF_WEIGHTS]:
        raise InputError(
            f"received option {own[0]} of {PREFIX}{name}; expected keyword arguments of the network, as num_classes; "
            "leave it out, and give weights with --pretrained or --checkpoint"
        )


def _kind(name: str) -> str:
    return next((kind for kind, module in KINDS.items() if name in list_models(module=module)), "classification")


@dataclass(frozen=True)
class _Builder:
    """Calls torchvision's function for a model, without a backbone's published weights unless the model's are asked."""

    name: str
    values: Mapping[str, Any]
    kind: str

    @property
    def takes(self) -> Collection[str]:
        return inspect.signature(get_model_builder(self.name)).parameters

    @property
    def drops_aux(self) -> bool:
        """Return True if there is an auxiliary head that was not asked for; files of weights have it."""
        return "aux_loss" in self.takes and not self.values.get("aux_loss")

    def __call__(self, weights: Any) -> nn.Module:
        """Return the module in the library's own form; InputError for wrong options and weights out of reach."""
        try:
            with warnings.catch_warnings(), _tensors_alone():
                warnings.simplefilter("ignore")  # about the time that initialising takes
                module: nn.Module = get_model_builder(self.name)(**self._given(weights))
        except Exception as error:
            raise self._refusal(error, is_reading=weights is not None) from error
        return module

    def shape(self) -> nn.Module:
        """Return the module without values, as far as it can be made so: RegNet's widths are computed by tensors."""
        try:
            with torch.device("meta"), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                module: nn.Module = get_model_builder(self.name)(**self._given(None))
                return module
        except NotImplementedError:
            return self(None)
        except Exception as error:
            raise self._refusal(error, is_reading=False) from error

    def _given(self, weights: Any) -> dict[str, Any]:
        given: dict[str, Any] = {"weights": weights, **self.values}
        if "weights_backbone" in self.takes:
            given.setdefault("weights_backbone", None)
        if self.drops_aux:
            given["aux_loss"] = True
        return given

    def _refusal(self, error: Exception, *, is_reading: bool) -> InputError:
        if is_reading and not isinstance(error, TypeError | ValueError):
            return InputError(
                f"received --pretrained for {PREFIX}{self.name}; expected its published weights within reach, got "
                f"{failure_line(error)}; leave --pretrained out, or give a file with --checkpoint"
            )
        given = ", ".join(f"{key}={value}" for key, value in self.values.items()) or "no options"
        return InputError(
            f"received {PREFIX}{self.name} with {given}; expected keyword arguments of torchvision's {self.name}, got "
            f"{failure_line(error)}; correct or leave them out"
        )


@contextlib.contextmanager
def _tensors_alone() -> Iterator[None]:
    """torchvision reads weights that it has fetched as tensors alone: by itself it would run what a file pickles."""
    original = _api.load_state_dict_from_url
    _api.load_state_dict_from_url = functools.partial(original, weights_only=True)
    try:
        yield
    finally:
        _api.load_state_dict_from_url = original


def _without_aux(module: nn.Module) -> list[str]:
    if getattr(module, AUX, None) is None:
        return []
    setattr(module, AUX, None)
    return ["output aux left out: its head is there for training; the option aux_loss=true keeps it"]


def _without_training_heads(module: nn.Module) -> list[str]:
    found = [name for name in TRAINING_HEADS if getattr(module, name, None) is not None]
    for name in found:
        setattr(module, name, None)
    return [f"{', '.join(found)} left out: training alone runs them"] if found else []


def _image(module: nn.Module, weights: Any) -> Preprocessing:
    """Return the preprocessing, with the size of an input, from the transforms of the published weights."""
    transforms = weights.transforms()
    resized = int((transforms.resize_size or [IMAGE])[0])
    side = int(getattr(transforms, "crop_size", [resized])[0])
    own = getattr(module, "image_size", None)  # of a transformer that is built for one
    size = own if isinstance(own, int) else side
    return Preprocessing(
        resize="crop",
        crop=side / resized,
        interpolation=transforms.interpolation.value,
        antialias=bool(transforms.antialias),
        mean=tuple(transforms.mean),
        std=tuple(transforms.std),
        size=(3, size, size),
    )


def _detector_image(module: Any) -> Preprocessing:
    """Return the preprocessing, with the size of an input, from what a detector does to images in its forward."""
    own = module.transform
    width, height = own.fixed_size or (own.min_size[-1], own.min_size[-1])
    mean = tuple(float(value) for value in own.image_mean)
    return Preprocessing(
        resize="stretch" if own.fixed_size else "letterbox",
        interpolation="bilinear",
        antialias=False,
        pad=tuple(255 * value for value in mean),  # it pads by zeros behind the normalisation
        anchor="top-left",
        mean=mean,
        std=tuple(float(value) for value in own.image_std),
        size=(3, int(height), int(width)),
    )
