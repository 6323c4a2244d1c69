"""Backbones from timm: the ones that the papers' insertion points are known for, and every other by its name.

timm, Wightman, https://github.com/huggingface/pytorch-image-models, Apache-2.0. What is written here of the known
ones equals timm's own configuration (a test compares), so that a target can be described without importing timm.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ...errors import InputError
from ..block_index import block_names, nearest, one_of

if TYPE_CHECKING:
    from torch import nn

MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class Backbone:
    """A classifier by name: input ``size`` (c, h, w) and how its published weights expect an image.

    ``macs`` are the multiply-accumulates of one image of that size, as modules/describe.py counts them.
    """

    name: str
    summary: str
    paper: str = ""
    parameters: int | None = None
    macs: int | None = None
    size: tuple[int, int, int] = (3, 224, 224)
    mean: tuple[float, ...] = MEAN
    std: tuple[float, ...] = STD
    interpolation: str = "bicubic"
    crop: float = 0.95

    @property
    def preprocessing(self) -> dict[str, Any]:
        """How an image becomes an input: size (c, h, w), mean and std of each channel in [0, 1], resizing."""
        return {
            "size": list(self.size),
            "mean": list(self.mean),
            "std": list(self.std),
            "interpolation": self.interpolation,
            "crop": self.crop,
        }


_RESNET = "https://arxiv.org/abs/1512.03385"
_MOBILENET = "https://arxiv.org/abs/1801.04381"
_EFFICIENTNET = "https://arxiv.org/abs/1905.11946"
KNOWN: Mapping[str, Backbone] = {
    backbone.name: backbone
    for backbone in (
        Backbone("resnet18", "ResNet, 18 layers", _RESNET, 11_689_512, 1_814_073_344),
        Backbone("resnet34", "ResNet, 34 layers", _RESNET, 21_797_672, 3_663_761_408),
        Backbone("resnet50", "ResNet, 50 layers", _RESNET, 25_557_032, 4_089_184_256),
        Backbone("resnet101", "ResNet, 101 layers", _RESNET, 44_549_160, 7_801_405_440),
        Backbone("resnet152", "ResNet, 152 layers", _RESNET, 60_192_808, 11_513_626_624),
        Backbone("mobilenetv2_050", "MobileNetV2, width 0.5", _MOBILENET, 1_968_680, 97_131_840, crop=0.875),
        Backbone("mobilenetv2_075", "MobileNetV2, width 0.75", _MOBILENET, 2_636_424, 209_069_792, crop=0.875),
        Backbone("mobilenetv2_100", "MobileNetV2, width 1.0", _MOBILENET, 3_504_872, 300_774_272, crop=0.875),
        Backbone("efficientnet_b0", "EfficientNet-B0", _EFFICIENTNET, 5_288_548, 385_814_752, crop=0.875),
        Backbone(
            "efficientnet_b1",
            "EfficientNet-B1",
            _EFFICIENTNET,
            7_794_184,
            686_802_832,
            size=(3, 240, 240),
            mean=(0.5, 0.5, 0.5),
            std=(0.5, 0.5, 0.5),
            crop=0.9,
        ),
        Backbone(
            "efficientnet_b2", "EfficientNet-B2", _EFFICIENTNET, 9_109_994, 859_853_760, size=(3, 256, 256), crop=0.875
        ),
    )
}


def find(name: str) -> Backbone:
    """The backbone of that name, known here or to timm; InputError with the nearest names otherwise."""
    if name in KNOWN:
        return KNOWN[name]
    try:
        import timm
    except ImportError as error:
        raise InputError(
            f"received target {name!r}; expected {one_of([*KNOWN, *block_names()])}; "
            f"{nearest(name, [*KNOWN, *block_names()], 'for any other timm model: pip install timm')}"
        ) from error

    if ":" in name or "/" in name or not timm.is_model(name.split(".", maxsplit=1)[0]):
        ours = [*KNOWN, *block_names()]
        close = nearest(name, ours, "") or nearest(name, timm.list_models(), "see attn2trt list")
        raise InputError(
            f"received target {name!r}; expected a block, a backbone (any timm model) or py:package.module:factory; "
            f"{close}"
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
        interpolation=config.interpolation,
        crop=config.crop_pct,
    )


def create(name: str, *, pretrained: bool = False) -> nn.Module:
    """The classifier itself, on the CPU; InputError where its published weights cannot be had."""
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
