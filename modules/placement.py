"""Put blocks into a backbone: at the places of their papers, or after any module path.

A block after a sequence of modules becomes its last one, under the name ``attn``, so that the names of the backbone's
own parameters stay; after or before any other module, the two stand together as ``base`` and ``attn``. At the path of a
3x3 convolution, a block that replaces one stands in for it; at any other path it follows, as every block does.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from ..core.nearest import nearest
from ..errors import InputError, one_line
from .block_index import BlockInfo, OptionValue, block_info
from .grammar import Part, steps_match
from .insertion_points import (
    Point,
    a_path,
    check_conv3x3,
    family_points,
    is_conv3x3,
    is_ours,
    paper_options,
    replaced_with,
)
from .user_code import make_block


class Followed(nn.Module):
    """A module of the backbone and the block that takes its output."""

    def __init__(self, base: nn.Module, attn: nn.Module) -> None:
        super().__init__()
        self.base = base
        self.attn = attn

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return self.attn(self.base(*args, **kwargs))

    def __getattr__(self, name: str) -> Any:
        """Return what the model around it reads of the module in this place: its width, its number in a list."""
        try:
            return super().__getattr__(name)
        except AttributeError:
            base = self._modules.get("base") if "_modules" in self.__dict__ else None
            found = getattr(base, name, self)
            if found is self or isinstance(found, nn.Module | torch.Tensor):  # a part has a path of its own
                raise
            return found


class Preceded(Followed):
    """A module of the backbone and the block that gives it its input."""

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return self.base(self.attn(*args, **kwargs))


Sizes = tuple[int, int]


def insert(model: nn.Module, name: str, parts: Sequence[Part], example: Callable[[], Sequence[Any]]) -> list[nn.Module]:
    """Put every part's block into ``model`` at its places, and return the blocks.

    ``name`` is the backbone's; ``example`` gives inputs for the one forward pass that module paths need, to learn
    their channels. Two blocks at one place follow each other in the order given. InputError if a place does not
    exist, or no paper defines it.
    """
    own: list[nn.Module] = []
    for part in parts:
        info = None if part.is_user_code else block_info(part.name)
        stages = [place for place in part.places if re.fullmatch(r"stage\d+", place)]
        paths = [place for place in part.places if place not in stages]
        added: list[nn.Module] = []
        if stages or not paths:
            points = _stage_points(model, name, part, stages, own, info)
            sizes = _sizes(model, points, part.name, example) if info is not None and info.fixed_size else {}
            for point in points:
                block = _make(model, part, info, point, paper_options(model, name, part.name, point), sizes)
                added.append(block)
                _put(model, point, block, own)
        if paths:
            added.extend(_put_at_paths(model, _matches(model, name, paths, [*own, *added]), part, info, example))
        own.extend(added)
    return own


def _stage_points(
    model: nn.Module,
    name: str,
    part: Part,
    stages: Sequence[str],
    own: Sequence[nn.Module],
    info: BlockInfo | None,
) -> list[Point]:
    points, count = family_points(model, name, part.name, own, info)
    if not stages:
        return points
    chosen: list[Point] = []
    for place in stages:
        number = int(place.removeprefix("stage"))
        if not 1 <= number <= count:
            raise InputError(f"received place {place!r} in {name}; expected stage1 to stage{count}; choose one of them")
        here = [point for point in points if point.stage == number]
        if not here:
            others = sorted({point.stage for point in points if point.stage})
            raise InputError(
                f"received {part.name} at {place} of {name}, which has none in its paper; "
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
        here = [path for path in paths if steps_match(path.split("."), steps)]
        if not here:
            raise InputError(
                f"received place {place!r}, which no module of {name} has; expected stageN, a module path or a glob; "
                f"{nearest(place, paths, f'e.g. {a_path(model)}')}"
            )
        found.extend(path for path in here if path not in found)
    # what follows a module renames what is in it
    return sorted(found, key=lambda path: -path.count("."))


def _put(model: nn.Module, point: Point, block: nn.Module, own: Sequence[nn.Module]) -> None:
    parent_path, _, leaf = point.path.rpartition(".")
    parent = model.get_submodule(parent_path)
    there = parent._modules.get(leaf)
    if point.after and type(there) is nn.Sequential:
        before = sum(key.startswith("attn") for key in there._modules)
        there.add_module(f"attn{before + 1}" if before else "attn", block)
        return
    if point.before:
        assert there is not None
        block = Preceded(there, block)
    elif there is not None and (point.after or is_ours(there, own)):
        block = Followed(there, block)
    setattr(parent, leaf, block)
    for path in point.dropped:
        model.set_submodule(path, nn.Identity())


def _put_at_paths(
    model: nn.Module, paths: Sequence[str], part: Part, info: BlockInfo | None, example: Callable[[], Sequence[Any]]
) -> list[nn.Module]:
    replaced, followed = [], []
    for path in paths:
        module = model.get_submodule(path)
        if info is not None and info.replaces_conv3x3 and is_conv3x3(module):
            conv = check_conv3x3(module, path, info)
            dropped = replaced_with(model, path) if info.own_norm else ()
            replaced.append(Point(path, 0, conv.in_channels, dropped=dropped))
        else:
            followed.append(path)
    seen = _seen(model, followed, example) if followed else {}
    shapes = {path: _image_like(tensors.made, tensors.image, path, part.name) for path, tensors in seen.items()}
    points = [*replaced, *(Point(path, 0, shape[1], after=True) for path, shape in shapes.items())]
    sizes = {path: (shape[2], shape[3]) for path, shape in shapes.items()}
    if info is not None and info.fixed_size:
        sizes |= _sizes(model, replaced, part.name, example)
    blocks = [_make(model, part, info, point, {}, sizes) for point in points]
    for point, block in zip(points, blocks, strict=True):
        _put(model, point, block, ())
    return blocks


def _make(
    model: nn.Module,
    part: Part,
    info: BlockInfo | None,
    point: Point,
    defaults: dict[str, OptionValue],
    sizes: dict[str, Sizes],
) -> nn.Module:
    """The block for its point; instead of a convolution, with that one's widths and stride."""
    if info is not None:
        options = {**defaults, **info.parse_options(part.options)}
        widths: tuple[int, ...] = (point.channels,)
        conv = model.get_submodule(point.path) if info.replaces_conv3x3 and not point.after else None
        if isinstance(conv, nn.Conv2d):
            widths = (conv.in_channels, conv.out_channels, conv.stride[0])
        return info.create(*widths, size=sizes.get(point.path, (0, 0)), options=options)
    block = make_block(part.name, point.channels, part.options)
    probe = torch.zeros(2, point.channels, 8, 8)
    try:
        with torch.no_grad():
            got = block.eval()(probe)
    except Exception as error:
        reason = one_line(error)
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


@dataclass(frozen=True)
class _Seen:
    """The inputs and the output of one module in a forward pass of the image ``image``."""

    given: Any
    made: Any
    image: Sequence[int]


def _seen(model: nn.Module, paths: Sequence[str], example: Callable[[], Sequence[Any]]) -> dict[str, _Seen]:
    seen: dict[str, _Seen] = {}
    given = example()

    def note(path: str, _module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        seen.setdefault(path, _Seen(args[0] if args else None, output, given[0].shape))

    handles = [model.get_submodule(path).register_forward_hook(functools.partial(note, path)) for path in paths]
    training = model.training
    try:
        with torch.no_grad():
            model.eval()(*given)
    finally:
        for handle in handles:
            handle.remove()
        model.train(training)
    return {path: seen.get(path, _Seen(None, None, given[0].shape)) for path in paths}


def _sizes(
    model: nn.Module, points: Sequence[Point], block: str, example: Callable[[], Sequence[Any]]
) -> dict[str, Sizes]:
    """Height and width of what a block is given at each point."""
    # a slot that is still empty is not run: what the module around it makes has the same size
    paths = [point.path if _exists(model, point.path) else point.path.rpartition(".")[0] for point in points]
    sizes = {}
    for point, seen in zip(points, _seen(model, paths, example).items(), strict=True):
        path, tensors = seen
        inward = path == point.path and not point.after
        shape = _image_like(tensors.given if inward else tensors.made, tensors.image, path, block)
        sizes[point.path] = (shape[2], shape[3])
    return sizes


def _exists(model: nn.Module, path: str) -> bool:
    parent, _, leaf = path.rpartition(".")
    return model.get_submodule(parent)._modules.get(leaf) is not None


def _image_like(output: Any, image: Sequence[int], path: str, block: str) -> Sequence[int]:
    """The shape of what a module gave for an ``image``; InputError if that is no ``(n, c, h, w)``."""
    if not isinstance(output, torch.Tensor) or output.ndim != 4:
        got = "nothing" if output is None else tuple(getattr(output, "shape", ())) or type(output).__name__
        raise InputError(
            f"received {block} after {path}, which gives {got}; expected one (n, c, h, w) tensor; choose another place"
        )
    first, second, third = output.shape[1:]
    aspect = image[2] / image[3]
    # the image's proportions in the first two sizes and not in the last two: a block would gate rows as channels
    if abs(first / second - aspect) < 0.02 < abs(second / third - aspect):
        raise InputError(
            f"received {block} after {path}, which gives {tuple(output.shape)}, channels last; "
            "expected one (n, c, h, w) tensor; choose another place"
        )
    shape: Sequence[int] = output.shape
    return shape
