"""Resolve a TARGET to everything that its export needs to know."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, replace
from functools import cached_property, lru_cache, partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from ..core.arguments import checked, require_seed
from ..core.preprocessing import Preprocessing
from ..core.tensor_spec import Axis, TensorSpec, optima
from ..errors import InputError
from . import building, default_batch
from .backbones import index as backbones
from .backbones import timm
from .block_index import BlockInfo, block_info, block_names
from .checkpoint import locate, sha256, split
from .dynamic import Ranges
from .grammar import Parsed, Part, is_program, parse
from .libraries import index as libraries
from .libraries.library import parse_value
from .packages import PYTORCH, require
from .program_file import ProgramModule
from .shapes import Shape, parse_shapes
from .target import Target
from .target_shapes import check_axes, shapes_of, single_shape, user_shapes

if TYPE_CHECKING:
    from torch import nn

Given = ParamSpec("Given")
Made = TypeVar("Made")
BLOCK_SIZES = (2, 64, 56, 56)
ONE_SIZE = (2, 64, 14, 14)  # of a block whose weights belong to it
FEATURE_OPTIONS = ("features_only", "out_indices")


def default_sizes(info: BlockInfo) -> tuple[int, ...]:
    """Return (n, c, h, w) at which a block alone is traced."""
    return ONE_SIZE if info.fixed_size else BLOCK_SIZES


@checked
def build(
    spec: str,
    *,
    shapes: Sequence[str] = (),
    seed: int = 0,
    pretrained: bool = False,
    checkpoint: Path | str | None = None,
    random: bool = False,
    trust: bool = False,
) -> nn.Module:
    """The module that a TARGET names, in eval mode, in float32, on the CPU.

    A block alone takes its width from ``shapes``, ``["2x16x8x8"]``, else it has that of its default shape; a module of
    the user's own has none to take, unless its weights are ``random``. Raises what ``resolve`` raises.
    """
    parsed = parse(spec)
    path = None if checkpoint is None else locate(checkpoint)
    weights: dict[str, Any] = {"seed": seed, "pretrained": pretrained, "checkpoint": path, "random": random}
    if parsed.base.is_user_code and not random:
        _check_user_target(parsed, spec, pretrained)
        return _own(parsed.base, Asked(spec, **weights, trust=trust)).build((), {})
    return resolve(spec, shapes=shapes, **weights, trust=trust).build()


@dataclass(frozen=True)
class ReadTarget:
    """A TARGET that has been read and checked, as far as that goes without building it."""

    parsed: Parsed
    recipe: building.Recipe
    inputs: tuple[TensorSpec, ...]
    axes: Mapping[str, Axis]
    facts: Mapping[str, Any]
    fallbacks: tuple[ReadTarget, ...] = ()


@dataclass(frozen=True)
class Asked:
    """The arguments of ``read`` and ``resolve``, whose signatures are made of these fields.

    Attributes:
        spec: The TARGET.
        shapes: The sizes that it is traced at; its default if there are none.
        dynamic: The axes that may vary, with their ranges.
        seed: Seed of random weights.
        pretrained: Take the backbone's published weights.
        checkpoint: A file, ``FILE#entry`` for one of its sets of weights, or ``hf-hub:owner/name``.
        random: Draw the weights of the user's own code too.
        any_batch: Have the default batch apply, as ``default_batch.plans`` says.
        trust: Let a pickle be read, a library's or in a program of torch.export, which runs its author's code.
    """

    spec: str
    _: KW_ONLY
    shapes: Sequence[str] = ()
    dynamic: str | Ranges | None = None
    seed: int = 0
    pretrained: bool = False
    checkpoint: Path | str | None = None
    random: bool = False
    any_batch: bool = False
    trust: bool = False

    def __post_init__(self) -> None:
        require_seed(self.seed)

    @cached_property
    def parsed(self) -> Parsed:
        """The TARGET's parts."""
        return parse(self.spec)

    @cached_property
    def given(self) -> list[Shape]:
        """The shapes, read."""
        return parse_shapes(self.shapes)

    @cached_property
    def path(self) -> Path | None:
        """The file of the checkpoint, fetched if it is on the hub."""
        return None if self.checkpoint is None else locate(self.checkpoint)

    @property
    def weights(self) -> dict[str, Any]:
        """The fields that every recipe of weights has."""
        return {"seed": self.seed, "checkpoint": self.path, "random": self.random}

    def plans(self, shapes: Sequence[Shape], *, fixed: bool) -> list[default_batch.Planned]:
        """Return the inputs and axes to try in turn; ``fixed`` if the sizes were given on purpose."""
        return default_batch.plans(shapes, self.dynamic, fixed=fixed, any_batch=self.any_batch)


def _taking(make: Callable[Given, Asked]) -> Callable[[Callable[[Asked], Made]], Callable[Given, Made]]:
    """Have a function take the arguments of ``make`` in place of what ``make`` returns."""

    def decorate(work: Callable[[Asked], Made]) -> Callable[Given, Made]:
        def call(*args: Given.args, **kwargs: Given.kwargs) -> Made:
            return work(make(*args, **kwargs))

        call.__doc__, call.__name__, call.__qualname__ = work.__doc__, work.__name__, work.__qualname__
        return call

    return decorate


@_taking(Asked)
def resolve(asked: Asked) -> Target:
    """Return the target that a TARGET names, traced at its shapes, with the axes of ``dynamic``.

    Names, options, shapes and ranges are checked here. The target's ``build`` checks what only the module itself can
    tell: a place in it, the widths that a block takes, a checkpoint's keys, the sizes that a forward pass takes. Both
    raise InputError; MissingRequirement if PyTorch is needed and not installed.
    """
    path = asked.path
    found = _plan(asked)
    digest, entry = ("", "") if path is None else (sha256(path), split(path)[1])
    weights = f"{asked.seed}\n{asked.pretrained}\n{entry}"
    target, *fallbacks = (_target(plan, asked, weights, digest) for plan in (found, *found.fallbacks))
    return replace(target, fallbacks=tuple(fallbacks))


@_taking(Asked)
def read(asked: Asked) -> ReadTarget:
    """Return what ``resolve`` makes a target of; raises as it does."""
    return _plan(asked)


def _plan(asked: Asked) -> ReadTarget:
    parsed = asked.parsed
    _check_weights(asked)
    if parsed.base.is_user_code:
        return _user_plan(asked)
    if parsed.base.library:
        return _library_plan(asked)
    return _block_plan(asked) if parsed.base.name in block_names() else _backbone_plan(asked)


def _check_weights(asked: Asked) -> None:
    for option, is_given in (("--pretrained", asked.pretrained), ("--random-weights", asked.random)):
        if is_given and asked.checkpoint is not None:
            raise InputError(
                f"received {option} and --checkpoint; expected one source of weights; leave one of them out"
            )
    if not asked.random:
        return
    if is_program(asked.parsed.base.name):
        raise InputError(
            f"received --random-weights for {asked.parsed.base.name}, a program that holds its weights; expected the "
            "module that it was made of; leave it out, or give --checkpoint"
        )
    if not asked.parsed.has_user_code:
        raise InputError(
            f"received --random-weights for {asked.spec}; expected a module or a block of your own, whose weights are "
            "else as it makes them; leave it out: without --pretrained and --checkpoint all others are random"
        )


def _target(found: ReadTarget, asked: Asked, weights: str, digest: str) -> Target:
    own = f"{found.recipe.identity}\n{_source_digest()}"
    identity = f"{asked.spec}\n{weights}\n{digest}\n{found.inputs}\n{optima(found.axes)}\n{own}"
    return Target(
        name=asked.spec,
        build=lambda: found.recipe.build(found.inputs, found.axes),
        inputs=found.inputs,
        axes=found.axes,
        weights=found.recipe.weights(digest),
        weight_notes=found.recipe.weight_notes,
        notes=found.recipe.notes,
        fingerprint=None if asked.parsed.has_user_code else hashlib.sha256(identity.encode()).hexdigest(),
        **found.facts,
    )


def _user_plan(asked: Asked) -> ReadTarget:
    _check_user_target(asked.parsed, asked.spec, asked.pretrained)
    own = _own(asked.parsed.base, asked)
    planned = asked.plans(user_shapes(own, asked.given), fixed=True)
    return _plans(asked, own, planned, {"source": own.name})


def _block_plan(asked: Asked) -> ReadTarget:
    info = block_info(asked.parsed.base.name)
    _check_block_target(asked.parsed, asked.pretrained)
    shape = single_shape(asked.given, "x", default_sizes(info), asked.spec)
    options = info.parse_options(asked.parsed.base.options)
    planned = asked.plans([shape], fixed=bool(asked.given))
    check_axes([info], planned[0][0][0], asked.spec)
    alone = building.BlockAlone(info, shape.sizes[1], options, seed=asked.seed, checkpoint=asked.path)
    facts = {"output_names": ("output",), "paper": info.paper, "source": "attn2trt"}
    return _plans(asked, alone, planned, facts)


def _backbone_plan(asked: Asked) -> ReadTarget:
    parsed = asked.parsed
    arguments = _arguments(parsed.base)
    backbone = backbones.find(parsed.base.name, arguments)
    infos = _check_inserted(parsed.insertions)
    shape = single_shape(asked.given, "image", (2, *backbone.size), asked.spec)
    if shape.sizes[1] != backbone.size[0]:
        raise InputError(
            f"received a shape of {shape.sizes[1]} channels for {backbone.name}; expected {backbone.size[0]}; "
            f"correct --shape{_other_channels(parsed.base, shape.sizes[1])}"
        )
    planned = asked.plans([shape], fixed=bool(asked.given))
    check_axes(infos, planned[0][0][0], asked.spec)
    indices = _features(parsed.base, arguments)
    whole = building.BackboneWithBlocks(
        backbone, parsed.insertions, features=indices, pretrained=asked.pretrained, **asked.weights
    )
    facts = {
        "output_names": _output_names(indices, arguments),
        "paper": _papers(backbone.paper, infos),
        "source": backbone.source,
        "preprocessing": _of_size(backbone.preprocessing, *planned[0]),
        "advice_on_sizes": partial(timm.advice_on_any_size, backbone),
    }
    return _plans(asked, whole, planned, facts)


def _library_plan(asked: Asked) -> ReadTarget:
    """Plan a model of a library; its outputs have the names that the library gives them."""
    require(PYTORCH)
    base, insertions = asked.parsed.base, asked.parsed.insertions
    infos = _check_inserted(insertions)
    model = libraries.find(base.name, base.options, pretrained=asked.pretrained, trust=asked.trust)
    shapes = shapes_of(asked.given, {name: (2, *sizes) for name, sizes in model.inputs.items()}, asked.spec)
    planned = asked.plans(shapes, fixed=bool(asked.given))
    for image in planned[0][0]:
        check_axes(infos, image, asked.spec)
    from .libraries.recipe import LibraryModule

    whole = LibraryModule(base.name, model, insertions, **asked.weights)
    facts = {
        "paper": _papers(model.paper, infos),
        "source": model.source,
        "preprocessing": _of_size(model.preprocessing, *planned[0]),
        "advice_on_sizes": lambda: f"give it the option {model.any_size}, or " if model.any_size else "",
    }
    return _plans(asked, whole, planned, facts)


def _of_size(
    preprocessing: Preprocessing | None, inputs: Sequence[TensorSpec], axes: Mapping[str, Axis]
) -> Preprocessing | None:
    """Return the preprocessing for the size at which the first input is traced."""
    return preprocessing and replace(preprocessing, size=inputs[0].resolve(optima(axes))[1:])


def _papers(own: str, infos: Sequence[BlockInfo]) -> str:
    """Return the papers of a backbone and its blocks, each once."""
    return " ".join(dict.fromkeys(filter(None, [own, *(info.paper for info in infos)])))


def _plans(
    asked: Asked, recipe: building.Recipe, planned: Sequence[default_batch.Planned], facts: Mapping[str, Any]
) -> ReadTarget:
    """Return the plan at the inputs and axes that come first, with those of the others to fall back on."""
    first, *others = (ReadTarget(asked.parsed, recipe, inputs, axes, facts) for inputs, axes in planned)
    return replace(first, fallbacks=tuple(others))


def _own(base: Part, asked: Asked) -> building.UserModule:
    if is_program(base.name):
        return ProgramModule(base.name, **asked.weights, trust=asked.trust)
    return building.UserModule(base.name, **asked.weights, options=base.options)


def _check_user_target(parsed: Parsed, spec: str, pretrained: bool) -> None:
    if parsed.insertions:
        raise InputError(
            f"received {spec!r} with blocks after a module of your own; expected {parsed.base.name} alone; "
            "write a factory that puts them in"
        )
    if parsed.base.options and is_program(parsed.base.name):
        raise InputError(
            f"received {spec!r} with options after a program of torch.export, which is made already; expected "
            f"{parsed.base.name} alone; leave them out"
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


def _check_inserted(insertions: Sequence[Part]) -> list[BlockInfo]:
    infos = []
    for part in insertions:
        if not part.is_user_code:
            info = block_info(part.name)
            info.parse_options(part.options)
            infos.append(info)
    return infos


def _other_channels(base: Part, channels: int) -> str:
    """Return how to ask for a backbone of so many input channels, unless its options say how many."""
    if "in_chans" in base.options:
        return " or in_chans"
    return f", or write {base.without_places}{',' if base.options else ':'}in_chans={channels}"


def _arguments(base: Part) -> dict[str, Any]:
    """Return a backbone's options that are timm's, as timm takes them."""
    given = {name: text for name, text in base.options.items() if name not in FEATURE_OPTIONS}
    if not given:
        return {}
    require(PYTORCH)
    return {name: parse_value(text) for name, text in given.items()}


def _output_names(indices: tuple[int, ...] | None, arguments: Mapping[str, Any]) -> tuple[str, ...]:
    if indices is not None:
        return tuple(f"features_{index}" for index in indices)
    return ("embedding",) if arguments.get("num_classes") == 0 else ("logits",)


def _features(base: Part, arguments: Mapping[str, Any]) -> tuple[int, ...] | None:
    if not any(name in base.options for name in FEATURE_OPTIONS):
        return None
    require(PYTORCH)
    from .features import parse_indices

    return parse_indices(base.name, base.options, arguments)


@lru_cache(maxsize=1)
def _source_digest() -> str:
    """Return the digest of what decides how a module is built: this room's files, the versions of torch and timm."""
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
