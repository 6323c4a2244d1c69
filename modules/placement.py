"""Put blocks into a backbone: where their papers say, or after any module path.

A block after a sequence of modules becomes its last one, under the name ``attn``, so that the names of the backbone's
own parameters stay; after any other module, the two stand together as ``base`` and ``attn``.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import nn

from ..errors import InputError
from .block_index import BlockInfo, OptionValue, block_info, nearest
from .grammar import Part
from .insertion_points import Point, a_path, check_conv3x3, family_points, is_ours, paper_options
from .user_code import make_block


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

    ``name`` is the backbone's; ``example`` gives inputs for the one forward pass that module paths need, to learn
    their channels. Two blocks at one place follow each other in the order given. InputError where a place does not
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
                    conv = check_conv3x3(model.get_submodule(point.path), point.path, part.name)
                    block = _replacement(conv, part, info)
                else:
                    block = _make(part, info, point.channels, paper_options(model, name, part.name, point))
                added.append(block)
                _put(model, point, block, own)
        if paths:
            added.extend(_put_at_paths(model, _matches(model, name, paths, [*own, *added]), part, info, example))
        own.extend(added)
    return own


def _stage_points(
    model: nn.Module, name: str, part: Part, stages: Sequence[str], own: Sequence[nn.Module]
) -> list[Point]:
    replaces = not part.is_user_code and block_info(part.name).replaces_conv3x3
    points, count = family_points(model, name, part.name, own, replaces_conv3x3=replaces)
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


def _matches(model: nn.Module, name: str, places: Iterable[str], own: Sequence[nn.Module]) -> list[str]:
    """Module paths that a place names, the deepest first, none of them in a block put in before.

    ``*`` stays within one step of the path, so ``layer1.*`` is layer1's blocks; ``**`` stands for any steps.
    """
    inside = {id(module) for block in own for module in block.modules()}
    paths = [path for path, module in model.named_modules() if path and id(module) not in inside]
    found: list[str] = []
    for place in places:
        steps = place.split(".")
        here = [path for path in paths if _steps_match(path.split("."), steps)]
        if not here:
            raise InputError(
                f"received place {place!r}, which no module of {name} has; expected stageN, a module path or a glob; "
                f"{nearest(place, paths, f'e.g. {a_path(model)}')}"
            )
        found.extend(path for path in here if path not in found)
    # what follows a module renames what is in it
    return sorted(found, key=lambda path: -path.count("."))


def _steps_match(path: Sequence[str], pattern: Sequence[str]) -> bool:
    if not pattern:
        return not path
    if pattern[0] == "**":
        return any(_steps_match(path[skipped:], pattern[1:]) for skipped in range(len(path) + 1))
    return bool(path) and fnmatch.fnmatchcase(path[0], pattern[0]) and _steps_match(path[1:], pattern[1:])


def _put(model: nn.Module, point: Point, block: nn.Module, own: Sequence[nn.Module]) -> None:
    parent_path, _, leaf = point.path.rpartition(".")
    parent = model.get_submodule(parent_path)
    there = parent._modules.get(leaf)
    if point.after and type(there) is nn.Sequential:
        before = sum(key.startswith("attn") for key in there._modules)
        there.add_module(f"attn{before + 1}" if before else "attn", block)
        return
    if there is not None and (point.after or is_ours(there, own)):
        block = Followed(there, block)
    setattr(parent, leaf, block)


def _put_at_paths(
    model: nn.Module, paths: Sequence[str], part: Part, info: BlockInfo | None, example: Callable[[], Sequence[Any]]
) -> list[nn.Module]:
    if info is not None and info.replaces_conv3x3:
        convs = [check_conv3x3(model.get_submodule(path), path, part.name) for path in paths]
        blocks = [_replacement(conv, part, info) for conv in convs]
        points = [Point(path, 0, 0) for path in paths]
    else:
        channels = _output_channels(model, paths, part.name, example)
        blocks = [_make(part, info, channels[path], {}) for path in paths]
        points = [Point(path, 0, channels[path], after=True) for path in paths]
    for point, block in zip(points, blocks, strict=True):
        _put(model, point, block, ())
    return blocks


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


def _output_channels(
    model: nn.Module, paths: Sequence[str], block: str, example: Callable[[], Sequence[Any]]
) -> dict[str, int]:
    outputs: dict[str, Any] = {}
    handles = [
        model.get_submodule(path).register_forward_hook(
            lambda _module, _args, output, path=path: outputs.setdefault(path, output)
        )
        for path in paths
    ]
    training = model.training
    given = example()
    try:
        with torch.no_grad():
            model.eval()(*given)
    finally:
        for handle in handles:
            handle.remove()
        model.train(training)
    return {path: _channels(outputs.get(path), path, block, given[0].shape) for path in paths}


def _channels(output: Any, path: str, block: str, image: Sequence[int]) -> int:
    if not isinstance(output, torch.Tensor) or output.ndim != 4:
        got = "nothing" if output is None else tuple(getattr(output, "shape", ())) or type(output).__name__
        raise InputError(
            f"received {block} after {path}, which gives {got}; expected one (n, c, h, w) tensor; choose another place"
        )
    _, first, second, third = output.shape
    aspect = image[2] / image[3]
    # the image's proportions in the first two sizes and not in the last two: a block would gate rows as channels
    if abs(first / second - aspect) < 0.02 < abs(second / third - aspect):
        raise InputError(
            f"received {block} after {path}, which gives {tuple(output.shape)}, channels last; "
            "expected one (n, c, h, w) tensor; choose another place"
        )
    return int(first)
