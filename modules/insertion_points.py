"""The place of a block in each paper: the points of every backbone family that a paper or a release defines.

ResNet (He et al., https://arxiv.org/abs/1512.03385) and MobileNetV2 (https://arxiv.org/abs/1801.04381): as
``paper_places`` says, block by block. MobileNet (https://arxiv.org/abs/1704.04861): after the pointwise convolution;
CBAM after the depthwise one too (both inferred from published counts).
MobileNeXt (https://arxiv.org/abs/2007.02269): after the first depthwise convolution, if there is one. EfficientNet
(https://arxiv.org/abs/1905.11946): in place of its own squeeze-and-excitation. BN-Inception
(https://arxiv.org/abs/1502.03167): after each concatenation. A block that replaces a 3x3 convolution takes a
bottleneck's, with its stride; one with a normalisation of its own takes the bottleneck's and the activation with it.
The papers' options per backbone stand here too; a block keeps its own defaults anywhere else.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from torch import nn

from ..errors import InputError
from .backbones.bn_inception import BNInception
from .backbones.mobilenext import MobileNeXt, Sandglass
from .block_index import BlockInfo, OptionValue
from .paper_places import Place, places

# The authors' k of each stage, by the block class and the depths: ResNet-18, 34, 50, 101 of the ECA-Net release.
ECA_KERNELS: dict[tuple[str, tuple[int, ...]], tuple[int, ...]] = {
    ("BasicBlock", (2, 2, 2, 2)): (3, 5, 7, 7),
    ("BasicBlock", (3, 4, 6, 3)): (3, 3, 5, 7),
    ("Bottleneck", (3, 4, 6, 3)): (3, 5, 5, 7),
    ("Bottleneck", (3, 4, 23, 3)): (3, 3, 5, 7),
}
# Non-local blocks in ResNet-101: five, as in ResNet-50, so that their distances in its long third stage are larger.
NON_LOCAL_EVERY: dict[tuple[str, tuple[int, ...]], dict[int, int]] = {("Bottleneck", (3, 4, 23, 3)): {3: 7}}
FCA_SIZES = (56, 28, 14, 7)  # of the cosines, by stage: the feature maps of an image of 224 x 224


@dataclass(frozen=True)
class Point:
    """One place. ``path`` is replaced by the block, or by the module there with the block after or before it.

    ``dropped`` are the paths that the block stands in for besides. Stage 0 is what comes before the first.
    """

    path: str
    stage: int
    channels: int
    after: bool = False
    before: bool = False
    dropped: tuple[str, ...] = ()


def family_points(
    model: nn.Module, name: str, block: str, own: Sequence[nn.Module], info: BlockInfo | None
) -> tuple[list[Point], int]:
    """The points for this block and the number of stages; ``own`` are the blocks put in before.

    ``info`` is what is known of a block of the catalog. InputError with the reason if no paper defines any.
    """
    replaces = info is not None and info.replaces_conv3x3
    if is_resnet(model):
        place = places(block, replaces_conv3x3=replaces).resnet
        return list(_resnet_points(model, name, block, own, place, info)), 4
    if replaces:
        raise _no_bottlenecks(name, block, "it replaces their 3x3 convolution")
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
    """The options that the block's release uses in this backbone at this point; empty if it says nothing."""
    simam: dict[str, OptionValue] = {"e_lambda": 0.1}  # the authors' commands for ImageNet
    if is_resnet(model):
        kernels = ECA_KERNELS.get(_resnet_kind(model))
        resnet: dict[str, dict[str, OptionValue]] = {
            "se": {"bias": True},
            "eca": {"k": kernels[point.stage - 1]} if kernels else {},
            "fca": {"dct": FCA_SIZES[point.stage - 1]},
            "simam": simam,
        }
        return resnet.get(block, {})
    if name.startswith("mobilenetv2"):
        mobile: dict[str, dict[str, OptionValue]] = {
            "se": {"reduction": 24, "bias": True},
            "cbam": {"reduction": 24},
            "eca": {"k": 1 if point.channels < 96 else 3},
            "simam": simam,
        }
        return mobile.get(block, {})
    if block == "se" and isinstance(model, BNInception):
        return {"bias": True}
    return {}


def is_resnet(model: nn.Module) -> bool:
    """Return True for timm's ResNet class: ResNets, ResNeXts and what is built from them."""
    return type(model).__name__ == "ResNet" and type(model).__module__.startswith("timm.")


def is_ours(module: nn.Module, own: Sequence[nn.Module]) -> bool:
    """Return True if it is one of the blocks put in before, or holds one."""
    return any(part is block for part in module.modules() for block in own)


def a_path(model: nn.Module) -> str:
    """Some module path, as an example for a message."""
    return next((path for path, _ in model.named_modules() if path.count(".") == 1), "layer1")


def is_conv3x3(module: nn.Module) -> bool:
    """Return True for a 3x3 convolution, of any groups, dilation and stride."""
    return isinstance(module, nn.Conv2d) and module.kernel_size == (3, 3)


def check_conv3x3(module: nn.Module, path: str, info: BlockInfo) -> nn.Conv2d:
    """The convolution that a block may stand in for; InputError if it is none.

    A block with groups of its own may stand in for one with others.
    """
    if (
        isinstance(module, nn.Conv2d)
        and is_conv3x3(module)
        and (module.groups == 1 or info.has_groups)
        and module.dilation == (1, 1)
        and module.stride[0] == module.stride[1]
    ):
        return module
    without = "dilation" if info.has_groups else "groups or dilation"
    raise InputError(
        f"received {info.name} at {path}, a {type(module).__name__}; expected a 3x3 convolution without {without}, "
        "which it replaces; choose another place"
    )


def replaced_with(model: nn.Module, path: str) -> tuple[str, ...]:
    """Return what a block with its own normalisation replaces beside the 3x3 convolution at ``path``."""
    parent, _, leaf = path.rpartition(".")
    unit = model.get_submodule(parent)
    if leaf != "conv2" or not all(hasattr(unit, part) for part in ("bn2", "act2", "conv3")):
        return ()
    return (f"{parent}.bn2", f"{parent}.act2")


def _no_bottlenecks(name: str, block: str, why: str) -> InputError:
    return InputError(
        f"received {block} in {name}; expected a ResNet of bottlenecks, since {why} and no paper defines it "
        "elsewhere; choose resnet50, resnet101 or a module path"
    )


def _resnet_points(
    model: nn.Module, name: str, block: str, own: Sequence[nn.Module], place: Place, info: BlockInfo | None
) -> Iterator[Point]:
    if place.site == "convolutions":
        yield from _convolutions(model, own)
        return
    kind = _resnet_kind(model)
    if place.site in ("in place", "inside") and kind[0] != "Bottleneck":
        why = "it replaces their 3x3 convolution" if place.site == "in place" else "it stands before their last one"
        raise _no_bottlenecks(name, block, why)
    further = NON_LOCAL_EVERY.get(kind, {}) if block == "non_local" else {}
    for stage in place.stages:
        units = list(_units(model, f"layer{stage}"))
        if place.site == "stage":
            yield Point(f"layer{stage}", stage, _out(units[-1][1]), after=True)
            continue
        every = further.get(stage, place.every)
        for path, unit in units[-1:] if stage in place.last_of else units[every - 1 :: every]:
            yield _unit_point(model, path, unit, stage, place, info) or _branch_point(
                name, block, own, path, unit, stage
            )


def _unit_point(
    model: nn.Module, path: str, unit: nn.Module, stage: int, place: Place, info: BlockInfo | None
) -> Point | None:
    """Return the point in a residual unit, by its place in it; None for the end of its branch."""
    # a bottleneck's second normalisation may have gone with its convolution
    has_third = hasattr(unit, "conv3")
    inner = _width(unit.get_submodule("conv3" if has_third else "bn2"), "in_channels" if has_third else "num_features")
    if place.site == "convolution":
        return Point(f"{path}.conv2", stage, inner, after=True)
    if place.site == "inside":
        return Point(f"{path}.aa", stage, inner, after=True)
    if place.site == "unit":  # after its last activation, which has no weights that would get another name
        return Point(f"{path}.{'act3' if hasattr(unit, 'act3') else 'act2'}", stage, _out(unit), after=True)
    if place.site == "in place" and info is not None:
        conv = check_conv3x3(unit.get_submodule("conv2"), f"{path}.conv2", info)
        dropped = replaced_with(model, f"{path}.conv2") if info.own_norm else ()
        return Point(f"{path}.conv2", stage, conv.in_channels, dropped=dropped)
    return None


def _branch_point(name: str, block: str, own: Sequence[nn.Module], path: str, unit: nn.Module, stage: int) -> Point:
    slot = unit._modules.get("se")
    if slot is not None and not is_ours(slot, own):
        raise InputError(
            f"received {block} in {name}, which has an attention of its own ({type(slot).__name__} at {path}.se); "
            "expected a ResNet without; choose resnet50 or a module path"
        )
    return Point(f"{path}.se", stage, _out(unit))


def _convolutions(model: nn.Module, own: Sequence[nn.Module]) -> Iterator[Point]:
    inside = {part for block in own for part in block.modules()}
    for path, part in model.named_modules():
        if isinstance(part, nn.Conv2d) and part not in inside:
            stage = int(path[5]) if path.startswith("layer") else 0
            yield Point(path, stage, part.in_channels, before=True)


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
            site = places(block).mobilenetv2
            if site is not None and site.site == "convolution":
                width = _width(unit.get_submodule("conv_dw"), "out_channels")
                yield Point(f"{path}.conv_dw", stage, width, after=True)
            elif site is not None and site.site == "projection":
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
    """Return a width of the backbone's own module, also if a block stands after or before it."""
    while not hasattr(module, attribute) and isinstance(module._modules.get("base"), nn.Module):
        module = module.get_submodule("base")
    return int(getattr(module, attribute))
