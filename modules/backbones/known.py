"""The backbones whose insertion points are known, as plain data: described without importing torch or timm.

The entries for timm's networks equal timm's own configuration, and every count equals the module's (tests compare).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ...core.preprocessing import Interpolation, Order, Preprocessing, Resize

MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class Backbone:
    """A classifier by name, and how its published weights expect an image.

    Attributes:
        name: Its name.
        summary: What it is, in words.
        paper: Its paper.
        parameters: Their number; None if it was not counted.
        macs: The multiply-accumulates of one image of ``size``, as modules/describe.py counts them.
        size: Its input, (c, h, w).
        mean: Of the channels.
        std: Of the channels.
        interpolation: How an image is resized.
        crop: The share of the resized image that is cut out, in each direction.
        order: That of the image's channels.
        resize: How an image comes to the size.
        file: The file of this folder that creates it.
        arguments: Keyword arguments of timm's create_model; neither count is for them.
    """

    name: str
    summary: str
    paper: str = ""
    parameters: int | None = None
    macs: int | None = None
    size: tuple[int, int, int] = (3, 224, 224)
    mean: tuple[float, ...] = MEAN
    std: tuple[float, ...] = STD
    interpolation: Interpolation = "bicubic"
    crop: float = 0.95
    order: Order = "RGB"
    resize: Resize = "crop"
    file: str = "timm"
    arguments: Mapping[str, Any] = field(default_factory=dict)

    @property
    def preprocessing(self) -> Preprocessing | None:
        """Return how a photograph becomes an input of ``size``; None for channels of which no mean is known."""
        if self.size[0] != len(self.mean):
            return None
        return Preprocessing(
            resize=self.resize,
            crop=self.crop,
            interpolation=self.interpolation,
            pad=tuple(round(255 * value) for value in self.mean) if self.resize == "letterbox" else (0.0,),
            mean=self.mean,
            std=self.std,
            order=self.order,
            size=self.size,
        )

    @property
    def source(self) -> str:
        """Whose code the network is."""
        return f"timm {self.name}" if self.file == "timm" else "attn2trt"


_RESNET = "https://arxiv.org/abs/1512.03385"
_MOBILENETV1 = "https://arxiv.org/abs/1704.04861"
_MOBILENET = "https://arxiv.org/abs/1801.04381"
_MOBILENEXT = "https://arxiv.org/abs/2007.02269"
_EFFICIENTNET = "https://arxiv.org/abs/1905.11946"
_EPSANET = "https://arxiv.org/abs/2105.14447"
_INFERRED = "the large variant, inferred from the published parameter counts"
KNOWN: Mapping[str, Backbone] = {
    backbone.name: backbone
    for backbone in (
        Backbone("resnet18", "ResNet, 18 layers", _RESNET, 11_689_512, 1_814_073_344),
        Backbone("resnet34", "ResNet, 34 layers", _RESNET, 21_797_672, 3_663_761_408),
        Backbone("resnet50", "ResNet, 50 layers", _RESNET, 25_557_032, 4_089_184_256),
        Backbone("resnet101", "ResNet, 101 layers", _RESNET, 44_549_160, 7_801_405_440),
        Backbone("resnet152", "ResNet, 152 layers", _RESNET, 60_192_808, 11_513_626_624),
        Backbone(
            "mobilenetv1_100",
            "MobileNet, width 1.0",
            _MOBILENETV1,
            4_231_976,
            568_740_352,
            mean=(0.5, 0.5, 0.5),
            std=(0.5, 0.5, 0.5),
            crop=0.875,
        ),
        Backbone("mobilenetv2_050", "MobileNetV2, width 0.5", _MOBILENET, 1_968_680, 97_131_840, crop=0.875),
        Backbone("mobilenetv2_075", "MobileNetV2, width 0.75", _MOBILENET, 2_636_424, 209_069_792, crop=0.875),
        Backbone("mobilenetv2_100", "MobileNetV2, width 1.0", _MOBILENET, 3_504_872, 300_774_272, crop=0.875),
        Backbone(
            "mobilenext_100",
            "MobileNeXt, width 1.0",
            _MOBILENEXT,
            3_535_416,
            311_342_592,
            crop=0.875,
            file="mobilenext",
        ),
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
        *(
            Backbone(name, summary, _EPSANET, *counts, interpolation="bilinear", crop=0.875, file="epsanet")
            for name, summary, counts in (
                ("epsanet50", "EPSANet-50, the small variant", (22_561_715, 3_597_900_160)),
                ("epsanet50_large", f"EPSANet-50, {_INFERRED}", (27_899_518, 4_693_059_072)),
                ("epsanet101", "EPSANet-101, the small variant", (38_900_279, 6_788_125_056)),
                ("epsanet101_large", f"EPSANet-101, {_INFERRED}", (49_592_198, 8_924_038_656)),
            )
        ),
        Backbone(
            "bn_inception",
            "BN-Inception; the released weights take an image in the order BGR",
            "https://arxiv.org/abs/1502.03167",
            11_295_240,
            2_032_600_064,
            mean=(104 / 255, 117 / 255, 128 / 255),
            std=(1 / 255, 1 / 255, 1 / 255),
            interpolation="bilinear",
            crop=0.875,
            order="BGR",
            file="bn_inception",
        ),
    )
}
