"""From a TARGET, or a module of the user's own, to everything that its export needs to know."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import InputError
from . import building
from .backbones import timm as timm_backbones
from .block_index import BlockInfo, OptionValue, block_info, block_names
from .checkpoint import sha256
from .grammar import Parsed, parse
from .shapes import Ranges, Shape, named, parse_shape, plan
from .target import Target

if TYPE_CHECKING:
    from torch import Tensor, nn

BLOCK_SIZES = (2, 64, 56, 56)


@dataclass(frozen=True)
class Entry:
    """One line of ``attn2trt list``. ``parameters`` is a block's count at 64 channels, None without torch here."""

    name: str
    kind: str
    summary: str
    paper: str
    parameters: int | None
    options: Mapping[str, OptionValue] = field(default_factory=dict)


def entries() -> list[Entry]:
    """Every block and every backbone whose insertion points are known; any other timm model works by its name."""
    blocks = [
        Entry(
            name=info.name,
            kind="block",
            summary=info.summary,
            paper=info.paper,
            parameters=building.count_parameters(info),
            options={option.name: option.default for option in info.options},
        )
        for info in map(block_info, block_names())
    ]
    backbones = [
        Entry(backbone.name, "backbone", backbone.summary, backbone.paper, backbone.parameters)
        for backbone in timm_backbones.KNOWN.values()
    ]
    return blocks + backbones


def build(spec: str, *, seed: int = 0, pretrained: bool = False, checkpoint: Path | str | None = None) -> nn.Module:
    """The module that a TARGET names, in eval mode, in float32, on the CPU. Raises what ``resolve`` raises."""
    parsed = parse(spec)
    path = None if checkpoint is None else Path(checkpoint)
    if parsed.base.is_user_code:
        _check_user_target(parsed, spec, pretrained)
        return building.UserModule(parsed.base.name, seed=seed, checkpoint=path).build((), {})
    return resolve(spec, seed=seed, pretrained=pretrained, checkpoint=path).build()


def resolve(
    spec: str,
    *,
    shapes: Sequence[str] = (),
    dynamic: str | Ranges | None = None,
    seed: int = 0,
    pretrained: bool = False,
    checkpoint: Path | None = None,
) -> Target:
    """The target that a TARGET names, traced at ``shapes`` (else its default), with the axes of ``dynamic``.

    Names, options, shapes and ranges are checked here; what only the module itself tells (a place in it, the widths
    that a block takes, a checkpoint's keys, the sizes that a forward pass takes) by the target's ``build``. Both raise
    InputError; MissingRequirement where PyTorch is needed and not installed.
    """
    parsed = parse(spec)
    if pretrained and checkpoint is not None:
        raise InputError(
            "received --pretrained and --checkpoint; expected one source of weights; leave one of them out"
        )
    given = [parse_shape(text) for text in shapes]
    digest = "" if checkpoint is None else sha256(checkpoint)
    if parsed.base.is_user_code:
        _check_user_target(parsed, spec, pretrained)
        own = building.UserModule(parsed.base.name, seed=seed, checkpoint=checkpoint)
        return _user_target(own, given, dynamic, digest)
    recipe: building.Recipe
    if parsed.base.name in block_names():
        info = block_info(parsed.base.name)
        _check_block_target(parsed, pretrained)
        shape = _single(given, "x", BLOCK_SIZES, spec)
        options = info.parse_options(parsed.base.options)
        inputs, axes = plan([shape], dynamic, fixed=bool(given))
        recipe = building.BlockAlone(info, shape.sizes[1], options, seed=seed, checkpoint=checkpoint)
        described: dict[str, Any] = {"output_names": ("output",), "paper": info.paper, "source": "attn2trt"}
    else:
        backbone = timm_backbones.find(parsed.base.name)
        infos = _check_backbone_target(parsed)
        shape = _single(given, "image", (2, *backbone.size), spec)
        if shape.sizes[1] != backbone.size[0]:
            raise InputError(
                f"received a shape of {shape.sizes[1]} channels for {backbone.name}; "
                f"expected {backbone.size[0]}; correct --shape"
            )
        inputs, axes = plan([shape], dynamic, fixed=bool(given))
        recipe = building.BackboneWithBlocks(
            backbone, parsed.insertions, seed=seed, pretrained=pretrained, checkpoint=checkpoint
        )
        papers = [backbone.paper, *(info.paper for info in infos)]
        described = {
            "output_names": ("logits",),
            "paper": " ".join(dict.fromkeys(filter(None, papers))),
            "source": f"timm {backbone.name}",
            "preprocessing": {**backbone.preprocessing, "size": list(inputs[0].resolve(_opt(axes))[1:])},
        }
    user_code = any(part.is_user_code for part in parsed.insertions)
    identity = f"{spec}\n{seed}\n{pretrained}\n{digest}\n{shape.sizes[1]}\n{_opt(axes)}\n{inputs}\n{_source_digest()}"
    return Target(
        name=spec,
        build=lambda: recipe.build(inputs, axes),
        inputs=inputs,
        axes=axes,
        weights=recipe.weights(digest),
        fingerprint=None if user_code else hashlib.sha256(identity.encode()).hexdigest(),
        **described,
    )


def from_module(
    module: nn.Module,
    example_inputs: Tensor | Sequence[Tensor] | Mapping[str, Tensor],
    *,
    dynamic: str | Ranges | None = None,
    name: str | None = None,
    input_names: Sequence[str] | None = None,
    output_names: Sequence[str] | None = None,
) -> Target:
    """The target of the caller's own module, traced at the sizes of ``example_inputs``.

    A mapping gives the inputs by the names of ``forward``'s parameters. ``build`` returns the module itself, put in
    eval mode; its weights are not touched. Integer inputs range over what the example holds. Raises InputError, and
    ModuleRefused for a module outside float32 on the CPU.
    """
    building.check_module(module)
    forward = building.Forward.of(module)
    if isinstance(example_inputs, Mapping):
        examples = [building.example_shape(key, value) for key, value in example_inputs.items()]
        given = forward.named(examples)
    else:
        values = list(example_inputs) if isinstance(example_inputs, (tuple, list)) else [example_inputs]
        names = forward.positional(len(values))
        given = forward.named([building.example_shape(key, value) for key, value in zip(names, values, strict=True)])
    if input_names is not None:
        if len(input_names) != len(given) or len(set(input_names)) != len(given):
            raise InputError(
                f"received input_names {list(input_names)} for {len(given)} inputs; expected one different name each; "
                "correct input_names"
            )
        given = [replace(shape, name=new) for shape, new in zip(given, input_names, strict=True)]
    inputs, axes = plan(given, dynamic, fixed=True)

    def ready() -> nn.Module:
        building.check_runs(module.eval(), inputs, axes)
        return module

    return Target(
        name=name or type(module).__name__,
        build=ready,
        inputs=inputs,
        axes=axes,
        output_names=tuple(output_names or ()),
        source=f"{type(module).__module__}.{type(module).__qualname__}",
        weights="as the caller's module holds them",
    )


def _user_target(
    recipe: building.UserModule, given: Sequence[Shape], dynamic: str | Ranges | None, digest: str
) -> Target:
    forward = building.Forward.of(recipe.make())
    if not given:
        first = forward.positional(1)[0]
        raise InputError(
            f"received {recipe.name} without a shape; expected one for each input of forward"
            f"({', '.join(forward.names)}); add --shape {first}=2x3x224x224"
        )
    inputs, axes = plan(forward.named(given), dynamic, fixed=True)
    return Target(
        name=recipe.name,
        build=lambda: recipe.build(inputs, axes),
        inputs=inputs,
        axes=axes,
        source=recipe.name,
        weights=recipe.weights(digest),
    )


def _check_user_target(parsed: Parsed, spec: str, pretrained: bool) -> None:
    if parsed.insertions or parsed.base.options:
        what = "blocks" if parsed.insertions else "options"
        raise InputError(
            f"received {spec!r} with {what} after a module of your own; expected {parsed.base.name} alone; "
            "write a factory that puts them in"
        )
    if pretrained:
        raise InputError(
            f"received --pretrained for {parsed.base.name}; expected a backbone; load the weights in the factory, "
            "or give --checkpoint"
        )


def _check_block_target(parsed: Parsed, pretrained: bool) -> None:
    name = parsed.base.name
    if parsed.insertions:
        raise InputError(
            f"received block {name!r} before a +; expected a backbone there; write resnet50+{parsed.insertions[0].name}"
        )
    if pretrained:
        raise InputError(
            f"received --pretrained for block {name}; expected a backbone; leave it out, or give --checkpoint"
        )


def _check_backbone_target(parsed: Parsed) -> list[BlockInfo]:
    if parsed.base.options:
        raise InputError(
            f"received options {', '.join(parsed.base.options)} for backbone {parsed.base.name}; expected options "
            "after a block; write them there"
        )
    infos = []
    for part in parsed.insertions:
        if not part.is_user_code:
            info = block_info(part.name)
            info.parse_options(part.options)
            infos.append(info)
    return infos


def _single(given: Sequence[Shape], name: str, default: tuple[int, ...], spec: str) -> Shape:
    shape = named(given, [name])[0] if given else Shape(name, default)
    if len(shape.sizes) != 4 or shape.dtype != "float32":
        raise InputError(
            f"received shape {'x'.join(map(str, shape.sizes))}:{shape.dtype} for {spec}; expected four sizes of "
            f"float32, (n, c, h, w); write it as {'x'.join(map(str, default))}"
        )
    return shape


def _opt(axes: Mapping[str, Any]) -> dict[str, int]:
    return {name: axis.opt for name, axis in axes.items()}


@lru_cache(maxsize=1)
def _source_digest() -> str:
    """Of what decides how a catalog module is built: this room's files, and the versions of torch and timm."""
    room = Path(__file__).parent
    digest = hashlib.sha256()
    for path in sorted(room.rglob("*.py")):
        digest.update(path.relative_to(room).as_posix().encode())
        digest.update(path.read_bytes())
    for package in ("torch", "timm"):
        try:
            digest.update(version(package).encode())
        except PackageNotFoundError:
            digest.update(b"missing")
    return digest.hexdigest()
