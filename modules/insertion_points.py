"""Where each paper puts a block: the points of every backbone family that a paper or a release defines.

ResNet (He et al., https://arxiv.org/abs/1512.03385): on the residual branch, after its last normalisation and before
the addition; BAM once after each of the first three stages. MobileNet (https://arxiv.org/abs/1704.04861): after the
pointwise convolution; CBAM after the depthwise one too (both inferred from published counts).
MobileNetV2 (https://arxiv.org/abs/1801.04381): after the depthwise convolution, where the expansion is not 1; ECA and
triplet attention after the projection, in every block.
MobileNeXt (https://arxiv.org/abs/2007.02269): after the first depthwise convolution, where there is one. EfficientNet
(https://arxiv.org/abs/1905.11946): in place of its own squeeze-and-excitation. BN-Inception
(https://arxiv.org/abs/1502.03167): after each concatenation. A block that replaces a 3x3 convolution takes a
bottleneck's, with its stride.
The papers' options per backbone stand here too; a block keeps its own defaults anywhere else.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from torch import nn

from ..errors import InputError
from .backbones.bn_inception import BNInception
from .backbones.mobilenext import MobileNeXt, Sandglass
from .block_index import OptionValue

# The authors' k of each stage, by the block class and the depths: ResNet-18, 34, 50, 101 of the ECA-Net release.
ECA_KERNELS: dict[tuple[str, tuple[int, ...]], tuple[int, ...]] = {
    ("BasicBlock", (2, 2, 2, 2)): (3, 5, 7, 7),
    ("BasicBlock", (3, 4, 6, 3)): (3, 3, 5, 7),
    ("Bottleneck", (3, 4, 6, 3)): (3, 5, 5, 7),
    ("Bottleneck", (3, 4, 23, 3)): (3, 3, 5, 7),
}
AFTER_PROJECTION = ("eca", "triplet")  # in MobileNetV2, as their releases have it


@dataclass(frozen=True)
class Point:
    """One place. ``path`` is replaced by the block, or by the module there and the block after it."""

    path: str
    stage: int
    channels: int
    after: bool = False


def family_points(
    model: nn.Module, name: str, block: str, own: Sequence[nn.Module], *, replaces_conv3x3: bool = False
) -> tuple[list[Point], int]:
    """The points for this block and the number of stages; ``own`` are the blocks put in before.

    InputError with the reason where no paper defines any.
    """
    if replaces_conv3x3:
        return list(_bottleneck_points(model, name, block)), 4
    if is_resnet(model):
        points = _between_stages(model) if block == "bam" else _resnet_points(model, name, block, own)
        return list(points), 4
    if isinstance(model, MobileNeXt):
        return list(_mobilenext_points(model)), max(model.stages)
    if isinstance(model, BNInception):
        return [Point(path, int(path[10]) - 2, width) for path, width in model.widths.items()], 3
    if type(model).__name__ == "EfficientNet":
        found = list(_efficientnet_points(model, name, block, own))
        if found:
            return found, _stages(model)
    raise InputError(
        f"received {block} in {name} without a module path; expected one, since no paper says where it goes there; "
        f"write {name}+{block}@PATH, e.g. @{a_path(model)}"
    )


def paper_options(model: nn.Module, name: str, block: str, point: Point) -> dict[str, OptionValue]:
    """The options that the block's release uses in this backbone at this point; empty where it says nothing."""
    if is_resnet(model):
        if block == "se":
            return {"bias": True}
        kernels = ECA_KERNELS.get(_resnet_kind(model))
        return {"k": kernels[point.stage - 1]} if block == "eca" and kernels else {}
    if name.startswith("mobilenetv2"):
        mobile: dict[str, dict[str, OptionValue]] = {
            "se": {"reduction": 24, "bias": True},
            "cbam": {"reduction": 24},
            "eca": {"k": 1 if point.channels < 96 else 3},
        }
        return mobile.get(block, {})
    if block == "se" and isinstance(model, BNInception):
        return {"bias": True}
    return {}


def is_resnet(model: nn.Module) -> bool:
    """Whether it is timm's ResNet class: ResNets, ResNeXts and what is built from them."""
    return type(model).__name__ == "ResNet" and type(model).__module__.startswith("timm.")


def is_ours(module: nn.Module, own: Sequence[nn.Module]) -> bool:
    """Whether it is one of the blocks put in before, or holds one."""
    return any(part is block for part in module.modules() for block in own)


def a_path(model: nn.Module) -> str:
    """Some module path, as an example for a message."""
    return next((path for path, _ in model.named_modules() if path.count(".") == 1), "layer1")


def check_conv3x3(module: nn.Module, path: str, block: str) -> nn.Conv2d:
    """The convolution that a block may stand in for; InputError where it is none."""
    if (
        isinstance(module, nn.Conv2d)
        and module.kernel_size == (3, 3)
        and module.groups == 1
        and module.dilation == (1, 1)
        and module.stride[0] == module.stride[1]
    ):
        return module
    raise InputError(
        f"received {block} at {path}, a {type(module).__name__}; expected a 3x3 convolution without groups or "
        "dilation, which it replaces; choose another place"
    )


def _resnet_points(model: nn.Module, name: str, block: str, own: Sequence[nn.Module]) -> Iterator[Point]:
    for stage, path, unit in _resnet_units(model):
        slot = unit._modules.get("se")
        if slot is not None and not is_ours(slot, own):
            raise InputError(
                f"received {block} in {name}, which has an attention of its own ({type(slot).__name__} at {path}.se); "
                "expected a ResNet without; choose resnet50 or a module path"
            )
        yield Point(f"{path}.se", stage, _out(unit))


def _between_stages(model: nn.Module) -> Iterator[Point]:
    last = {stage: unit for stage, _, unit in _resnet_units(model)}
    for stage in range(1, 4):
        yield Point(f"layer{stage}", stage, _out(last[stage]), after=True)


def _bottleneck_points(model: nn.Module, name: str, block: str) -> Iterator[Point]:
    if not is_resnet(model) or _resnet_kind(model)[0] != "Bottleneck":
        raise InputError(
            f"received {block} in {name}; expected a ResNet of bottlenecks, since it replaces their 3x3 convolution "
            "and no paper defines it elsewhere; choose resnet50 or resnet101"
        )
    for stage, path, unit in _resnet_units(model):
        conv = check_conv3x3(unit.get_submodule("conv2"), f"{path}.conv2", block)
        yield Point(f"{path}.conv2", stage, conv.in_channels)


def _mobilenext_points(model: MobileNeXt) -> Iterator[Point]:
    for index, unit in enumerate(model.features):
        if isinstance(unit, Sandglass) and unit.enters:
            activation = f"features.{index}.conv.2"
            yield Point(activation, model.stages[index], _width(unit.conv[0], "out_channels"), after=True)


def _efficientnet_points(model: nn.Module, name: str, block: str, own: Sequence[nn.Module]) -> Iterator[Point]:
    for stage, path, unit in _efficientnet_units(model):
        expanded = hasattr(unit, "conv_pwl")
        if name.startswith("mobilenetv1"):
            if block == "cbam":
                yield Point(f"{path}.se", stage, _width(unit.get_submodule("conv_dw"), "out_channels"))
            yield Point(f"{path}.bn2", stage, _width(unit.get_submodule("bn2"), "num_features"), after=True)
        elif name.startswith("mobilenetv2"):
            if block in AFTER_PROJECTION:
                norm = "bn3" if expanded else "bn2"
                width = _width(unit.get_submodule(norm), "num_features")
                yield Point(f"{path}.{norm}", stage, width, after=True)
            elif expanded:
                yield Point(f"{path}.se", stage, _width(unit.get_submodule("conv_dw"), "out_channels"))
        else:
            slot = unit._modules.get("se")
            expansion = next((conv for conv in ("conv_dw", "conv_exp") if hasattr(unit, conv)), None)
            if expansion and slot is not None and (not isinstance(slot, nn.Identity) or is_ours(slot, own)):
                yield Point(f"{path}.se", stage, _width(unit.get_submodule(expansion), "out_channels"))


def _resnet_kind(model: nn.Module) -> tuple[str, tuple[int, ...]]:
    stages = [list(_units(model, f"layer{stage}")) for stage in range(1, 5)]
    return type(stages[0][0][1]).__name__, tuple(len(stage) for stage in stages)


def _resnet_units(model: nn.Module) -> Iterator[tuple[int, str, nn.Module]]:
    for stage in range(1, 5):
        for path, unit in _units(model, f"layer{stage}"):
            yield stage, path, unit


def _efficientnet_units(model: nn.Module) -> Iterator[tuple[int, str, nn.Module]]:
    for path, _ in _units(model, "blocks"):
        for inner, unit in _units(model, path):
            yield int(path.removeprefix("blocks.")) + 1, inner, unit


def _units(model: nn.Module, path: str) -> Iterable[tuple[str, nn.Module]]:
    """The numbered modules of a sequence: a block put at its end has a name instead."""
    return ((f"{path}.{key}", unit) for key, unit in model.get_submodule(path).named_children() if key.isdigit())


def _stages(model: nn.Module) -> int:
    return len(list(_units(model, "blocks")))


def _out(unit: nn.Module) -> int:
    """The channels that a residual block gives."""
    return _width(unit.get_submodule("bn3" if hasattr(unit, "bn3") else "bn2"), "num_features")


def _width(module: nn.Module, attribute: str) -> int:
    return int(getattr(module, attribute))
