"""Where a block goes in a backbone: the paper's insertion point per family, or any module path.

ResNet (He et al., https://arxiv.org/abs/1512.03385): on the residual branch, after its last normalisation and before
the addition. MobileNetV2 (https://arxiv.org/abs/1801.04381): after the depthwise convolution, where the expansion is
not 1; ECA after the projection, in every block. EfficientNet (https://arxiv.org/abs/1905.11946): in place of its own
squeeze-and-excitation. A block that replaces a 3x3 convolution takes a bottleneck's, with its stride.
The papers' options per backbone stand here too; a block keeps its own defaults anywhere else.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from ..errors import InputError
from .block_index import BlockInfo, OptionValue, block_info, nearest
from .grammar import Part
from .user_code import make_block

# The authors' k of each stage, by the block class and the depths: ResNet-18, 34, 50, 101 of the ECA-Net release.
ECA_KERNELS: dict[tuple[str, tuple[int, ...]], tuple[int, ...]] = {
    ("BasicBlock", (2, 2, 2, 2)): (3, 5, 7, 7),
    ("BasicBlock", (3, 4, 6, 3)): (3, 3, 5, 7),
    ("Bottleneck", (3, 4, 6, 3)): (3, 5, 5, 7),
    ("Bottleneck", (3, 4, 23, 3)): (3, 3, 5, 7),
}


@dataclass(frozen=True)
class Point:
    """One place. ``path`` is replaced by the block, or by the module there and the block after it."""

    path: str
    stage: int
    channels: int
    after: bool = False


class Followed(nn.Module):
    """A module of the backbone and the block that takes its output."""

    def __init__(self, base: nn.Module, attn: nn.Module) -> None:
        super().__init__()
        self.base = base
        self.attn = attn

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return self.attn(self.base(*args, **kwargs))


def insert(model: nn.Module, name: str, parts: Sequence[Part], example: Callable[[], Sequence[Any]]) -> list[nn.Module]:
    """Put every part's block into ``model`` where its places say, and return the blocks.

    ``name`` is the backbone's; ``example`` gives inputs for the one forward pass that a module path needs, to learn
    its channels. Two blocks at one place follow each other in the order given. InputError where a place does not
    exist, or no paper defines it.
    """
    own: list[nn.Module] = []
    for part in parts:
        info = None if part.is_user_code else block_info(part.name)
        stages = [place for place in part.places if re.fullmatch(r"stage\d+", place)]
        paths = [place for place in part.places if place not in stages]
        added: list[nn.Module] = []
        if stages or not paths:
            for point in _stage_points(model, name, part, stages, own):
                if info is not None and info.replaces_conv3x3:
                    conv = _check_conv3x3(model.get_submodule(point.path), point.path, part.name)
                    block = _replacement(conv, part, info)
                else:
                    block = _make(part, info, point.channels, paper_options(model, name, part.name, point))
                added.append(block)
                _put(model, point, block, own)
        for path in _matches(model, name, paths):
            added.append(_put_at_path(model, path, part, info, example))
        own.extend(added)
    return own


def paper_options(model: nn.Module, name: str, block: str, point: Point) -> dict[str, OptionValue]:
    """The options that the block's release uses in this backbone at this point; empty where it says nothing."""
    if _is_resnet(model):
        if block == "se":
            return {"bias": True}
        kernels = ECA_KERNELS.get(_resnet_kind(model))
        return {"k": kernels[point.stage - 1]} if block == "eca" and kernels else {}
    if _is_mobilenetv2(model, name):
        mobile: dict[str, dict[str, OptionValue]] = {
            "se": {"reduction": 24, "bias": True},
            "cbam": {"reduction": 24},
            "eca": {"k": 1 if point.channels < 96 else 3},
        }
        return mobile.get(block, {})
    return {}


def _stage_points(
    model: nn.Module, name: str, part: Part, stages: Sequence[str], own: Sequence[nn.Module]
) -> list[Point]:
    info = None if part.is_user_code else block_info(part.name)
    points, count = _family_points(model, name, part.name, info, own)
    if not stages:
        return points
    chosen: list[Point] = []
    for place in stages:
        number = int(place.removeprefix("stage"))
        if not 1 <= number <= count:
            raise InputError(f"received place {place!r} in {name}; expected stage1 to stage{count}; choose one of them")
        here = [point for point in points if point.stage == number]
        if not here:
            others = sorted({point.stage for point in points})
            raise InputError(
                f"received {part.name} at {place} of {name}, where its paper puts none; "
                f"expected {', '.join(f'stage{stage}' for stage in others)}; choose one of them or a module path"
            )
        chosen.extend(point for point in here if point not in chosen)
    return chosen


def _family_points(
    model: nn.Module, name: str, block: str, info: BlockInfo | None, own: Sequence[nn.Module]
) -> tuple[list[Point], int]:
    """The family's points for this block and the number of stages; InputError with the reason where there are none."""
    if info is not None and info.replaces_conv3x3:
        return _bottleneck_points(model, name, block), 4
    if _is_resnet(model):
        return _resnet_points(model, name, block, own), 4
    if _is_mobilenetv2(model, name):
        return _mobilenetv2_points(model, block), _stages(model)
    if type(model).__name__ == "EfficientNet":
        points = _efficientnet_points(model, own)
        if points:
            return points, _stages(model)
    raise InputError(
        f"received {block} in {name} without a module path; expected one, since no paper says where it goes there; "
        f"write {name}+{block}@PATH, e.g. @{_a_path(model)}"
    )


def _resnet_points(model: nn.Module, name: str, block: str, own: Sequence[nn.Module]) -> list[Point]:
    points = []
    for stage, path, unit in _resnet_units(model):
        slot = unit._modules.get("se")
        if slot is not None and not _is_ours(slot, own):
            raise InputError(
                f"received {block} in {name}, which has an attention of its own ({type(slot).__name__} at {path}.se); "
                "expected a ResNet without; choose resnet50 or a module path"
            )
        norm = unit.get_submodule("bn3" if hasattr(unit, "bn3") else "bn2")
        points.append(Point(f"{path}.se", stage, _width(norm, "num_features")))
    return points


def _bottleneck_points(model: nn.Module, name: str, block: str) -> list[Point]:
    if not _is_resnet(model) or _resnet_kind(model)[0] != "Bottleneck":
        raise InputError(
            f"received {block} in {name}; expected a ResNet of bottlenecks, since it replaces their 3x3 convolution "
            "and no paper defines it elsewhere; choose resnet50 or resnet101"
        )
    points = []
    for stage, path, unit in _resnet_units(model):
        conv = unit.get_submodule("conv2")
        _check_conv3x3(conv, f"{path}.conv2", block)
        points.append(Point(f"{path}.conv2", stage, _width(conv, "in_channels")))
    return points


def _mobilenetv2_points(model: nn.Module, block: str) -> list[Point]:
    points = []
    for stage, path, unit in _efficientnet_units(model):
        expanded = type(unit).__name__ == "InvertedResidual"
        if block == "eca":
            norm = "bn3" if expanded else "bn2"
            points.append(Point(f"{path}.{norm}", stage, _width(unit.get_submodule(norm), "num_features"), after=True))
        elif expanded:
            points.append(Point(f"{path}.se", stage, _width(unit.get_submodule("conv_dw"), "out_channels")))
    return points


def _efficientnet_points(model: nn.Module, own: Sequence[nn.Module]) -> list[Point]:
    points = []
    for stage, path, unit in _efficientnet_units(model):
        slot = unit._modules.get("se")
        if slot is None or (isinstance(slot, nn.Identity) and not _is_ours(slot, own)):
            continue
        for expansion in ("conv_dw", "conv_exp"):
            if hasattr(unit, expansion):
                points.append(Point(f"{path}.se", stage, _width(unit.get_submodule(expansion), "out_channels")))
                break
    return points


def _is_resnet(model: nn.Module) -> bool:
    return type(model).__name__ == "ResNet" and type(model).__module__.startswith("timm.")


def _is_mobilenetv2(model: nn.Module, name: str) -> bool:
    return name.startswith("mobilenetv2") and type(model).__name__ == "EfficientNet"


def _resnet_kind(model: nn.Module) -> tuple[str, tuple[int, ...]]:
    stages = [list(model.get_submodule(f"layer{stage}").children()) for stage in range(1, 5)]
    return type(stages[0][0]).__name__, tuple(len(stage) for stage in stages)


def _resnet_units(model: nn.Module) -> Iterable[tuple[int, str, nn.Module]]:
    for stage in range(1, 5):
        for index, unit in model.get_submodule(f"layer{stage}").named_children():
            yield stage, f"layer{stage}.{index}", unit


def _efficientnet_units(model: nn.Module) -> Iterable[tuple[int, str, nn.Module]]:
    for stage, blocks in model.get_submodule("blocks").named_children():
        for index, unit in blocks.named_children():
            yield int(stage) + 1, f"blocks.{stage}.{index}", unit


def _stages(model: nn.Module) -> int:
    return len(list(model.get_submodule("blocks").children()))


def _width(module: nn.Module, attribute: str) -> int:
    return int(getattr(module, attribute))


def _is_ours(module: nn.Module, own: Sequence[nn.Module]) -> bool:
    return any(part is block for part in module.modules() for block in own)


def _a_path(model: nn.Module) -> str:
    return next((path for path, _ in model.named_modules() if path.count(".") == 1), "layer1")


def _matches(model: nn.Module, name: str, places: Iterable[str]) -> list[str]:
    """Module paths that a place names; ``*`` stays within one step of the path, so ``layer1.*`` is layer1's blocks."""
    paths = [path for path, _ in model.named_modules() if path]
    found: list[str] = []
    for place in places:
        steps = place.split(".")
        here = [path for path in paths if _steps_match(path.split("."), steps)]
        if not here:
            raise InputError(
                f"received place {place!r}, which no module of {name} has; expected stageN, a module path or a glob; "
                f"{nearest(place, paths, f'e.g. {_a_path(model)}')}"
            )
        found.extend(path for path in here if path not in found)
    return found


def _steps_match(path: Sequence[str], pattern: Sequence[str]) -> bool:
    return len(path) == len(pattern) and all(map(fnmatch.fnmatchcase, path, pattern))


def _put(model: nn.Module, point: Point, block: nn.Module, own: Sequence[nn.Module]) -> None:
    parent_path, _, leaf = point.path.rpartition(".")
    parent = model.get_submodule(parent_path)
    there = parent._modules.get(leaf)
    if there is not None and (point.after or _is_ours(there, own)):
        block = Followed(there, block)
    setattr(parent, leaf, block)


def _put_at_path(
    model: nn.Module, path: str, part: Part, info: BlockInfo | None, example: Callable[[], Sequence[Any]]
) -> nn.Module:
    there = model.get_submodule(path)
    if info is not None and info.replaces_conv3x3:
        block = _replacement(_check_conv3x3(there, path, part.name), part, info)
        _put(model, Point(path, 0, 0), block, ())
        return block
    channels = _output_channels(model, path, part.name, example)
    block = _make(part, info, channels, {})
    _put(model, Point(path, 0, channels, after=True), block, ())
    return block


def _replacement(conv: nn.Conv2d, part: Part, info: BlockInfo) -> nn.Module:
    """The block that stands in for a convolution: its widths and its stride."""
    return info.load()(conv.in_channels, conv.out_channels, conv.stride[0], **info.parse_options(part.options))


def _make(part: Part, info: BlockInfo | None, channels: int, defaults: dict[str, OptionValue]) -> nn.Module:
    if info is not None:
        return info.load()(channels, **{**defaults, **info.parse_options(part.options)})
    block = make_block(part.name, channels, part.options)
    probe = torch.zeros(2, channels, 8, 8)
    try:
        with torch.no_grad():
            got = block.eval()(probe)
    except Exception as error:
        reason = " ".join(str(error).split())[:200]
        raise InputError(
            f"received block {part.name}, which raised {type(error).__name__}: {reason} on {tuple(probe.shape)}; "
            "expected (n, c, h, w) to (n, c, h, w); correct its forward"
        ) from error
    if not isinstance(got, torch.Tensor) or got.shape != probe.shape:
        shape = tuple(got.shape) if isinstance(got, torch.Tensor) else type(got).__name__
        raise InputError(
            f"received block {part.name}, which turns {tuple(probe.shape)} into {shape}; "
            "expected (n, c, h, w) to (n, c, h, w); correct its forward"
        )
    return block


def _check_conv3x3(module: nn.Module, path: str, block: str) -> nn.Conv2d:
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


def _output_channels(model: nn.Module, path: str, block: str, example: Callable[[], Sequence[Any]]) -> int:
    shapes: list[Any] = []
    handle = model.get_submodule(path).register_forward_hook(lambda _module, _args, output: shapes.append(output))
    training = model.training
    try:
        with torch.no_grad():
            model.eval()(*example())
    finally:
        handle.remove()
        model.train(training)
    if not shapes or not isinstance(shapes[0], torch.Tensor) or shapes[0].ndim != 4:
        got = "nothing" if not shapes else tuple(getattr(shapes[0], "shape", ())) or type(shapes[0]).__name__
        raise InputError(
            f"received {block} after {path}, which gives {got}; expected one (n, c, h, w) tensor; choose another place"
        )
    return int(shapes[0].shape[1])
