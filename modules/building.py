"""Make a target's module: create it from its seed, fill it with weights, and run it once at its sizes."""

from __future__ import annotations

import functools
import inspect
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..core.tensor_spec import FLOAT_DTYPES, INTEGER_DTYPES, Axis, TensorSpec
from ..errors import Attn2trtError, InputError, ModuleRefused, SizesRefused
from . import checkpoint as checkpoints
from .backbones import index as backbones
from .backbones.known import KNOWN, Backbone
from .block_index import ALL_AXES, BlockInfo, OptionValue, block_info
from .grammar import Part
from .packages import PYTORCH, require
from .raised import raised, remedy
from .shapes import Shape, named
from .traceable import check_traceable
from .user_code import make
from .user_line import definition_line

if TYPE_CHECKING:
    from torch import Tensor, nn

# enough images that a new one differs little from them, each small, since float64 convolutions are slow on a CPU
CALIBRATION_BATCH, CALIBRATION_SIZE = 8, 72
FEW = 2  # images of whatever size was asked for
IMAGE_SEED = 0x5EED  # not the weights' own: images drawn as the weights are would be correlated with them


@dataclass(frozen=True)
class Recipe(ABC):
    """The part of one kind of target in the common way of building.

    ``weight_notes`` is filled by ``build``: what was done with a checkpoint when it was loaded. So are ``notes``: what
    was set, or left out, so that the module can be exported.
    """

    weight_notes: list[str] = field(default_factory=list, kw_only=True, compare=False)
    notes: list[str] = field(default_factory=list, kw_only=True, compare=False)

    @property
    def identity(self) -> str:
        """The text that decides the module beside the TARGET's text, the weights and this package's code."""
        return ""

    def build(self, inputs: Sequence[TensorSpec], axes: Mapping[str, Axis]) -> nn.Module:
        """A new module in eval mode, in float32, on the CPU, without gradients; equal at every call.

        Raises InputError if a place, a width or a checkpoint does not fit, and if the module cannot take the traced
        sizes with the smallest batch.
        """
        require(PYTORCH)
        module = self.make_with_weights(inputs, axes)
        check_module(module)
        module.eval().requires_grad_(False)
        check_runs(module, inputs, axes)
        return module

    @abstractmethod
    def structure(self, inputs: Sequence[TensorSpec], axes: Mapping[str, Axis]) -> tuple[nn.Module, list[nn.Module]]:
        """The module with whatever weights it was created with, sooner than ``build``, and the blocks put into it."""

    @abstractmethod
    def make_with_weights(self, inputs: Sequence[TensorSpec], axes: Mapping[str, Axis]) -> nn.Module: ...

    @abstractmethod
    def weights(self, digest: str) -> str:
        """Return the origin of the weights, in words; ``digest`` is the checkpoint's."""


@dataclass(frozen=True)
class BlockAlone(Recipe):
    """A block of the catalog for so many channels."""

    info: BlockInfo
    channels: int
    options: Mapping[str, OptionValue]
    seed: int = 0
    checkpoint: Path | None = None

    def structure(self, inputs: Sequence[TensorSpec], axes: Mapping[str, Axis]) -> tuple[nn.Module, list[nn.Module]]:
        with seeded(self.seed):
            height, width = traced(inputs[0], axes)[2:]
            return self.info.create(self.channels, size=(height, width), options=self.options), []

    def make_with_weights(self, inputs: Sequence[TensorSpec], axes: Mapping[str, Axis]) -> nn.Module:
        from .randomise import randomise

        module, _ = self.structure(inputs, axes)
        if self.checkpoint is not None:
            self.weight_notes[:] = checkpoints.load_into(module, self.checkpoint)
        else:
            fixed = (FEW, *traced(inputs[0], axes)[1:])
            shape = fixed if self.info.fixed_size else (CALIBRATION_BATCH, self.channels, 24, 32)
            example = images(shape, self.seed)
            randomise(module, [example], seed=self.seed)
        return module

    def weights(self, digest: str) -> str:
        return checkpoint_words(self.checkpoint, digest) or f"random, seed {self.seed}, scaled layer by layer"


@dataclass(frozen=True)
class BackboneWithBlocks(Recipe):
    """A classifier, or the feature maps of one at the indices ``features``, with blocks at their places."""

    backbone: Backbone
    insertions: tuple[Part, ...]
    seed: int = 0
    pretrained: bool = False
    checkpoint: Path | None = None
    features: tuple[int, ...] | None = None

    def structure(self, inputs: Sequence[TensorSpec], axes: Mapping[str, Axis]) -> tuple[nn.Module, list[nn.Module]]:
        module, blocks = self._classifier(inputs, axes)
        return self._pruned(module), blocks

    def _pruned(self, classifier: nn.Module) -> nn.Module:
        if self.features is None:
            return classifier
        from .features import Features

        return Features(classifier, self.features)

    def _classifier(self, inputs: Sequence[TensorSpec], axes: Mapping[str, Axis]) -> tuple[nn.Module, list[nn.Module]]:
        from .placement import insert

        sizes = traced(inputs[0], axes)[1:]
        with seeded(self.seed):
            module = backbones.create(self.backbone.name, pretrained=self.pretrained)
            example = functools.partial(images, (1, *sizes), self.seed)
            return module, insert(module, self.backbone.name, self.insertions, lambda: [example()])

    def make_with_weights(self, inputs: Sequence[TensorSpec], axes: Mapping[str, Axis]) -> nn.Module:
        from .randomise import randomise

        name = self.backbone.name
        channels, height, width = traced(inputs[0], axes)[1:]
        module, blocks = self._classifier(inputs, axes)
        if self.checkpoint is not None:
            self._load(module, self.checkpoint)
            return self._pruned(module)
        users_own = [block for block in blocks if not type(block).__module__.startswith(f"{__package__}.")]
        infos = [block_info(part.name) for part in self.insertions if not part.is_user_code]
        if name in KNOWN and not any(info.fixed_size for info in infos):
            # takes any size: a smaller one gives the same statistics sooner
            example = images((CALIBRATION_BATCH, channels, CALIBRATION_SIZE, CALIBRATION_SIZE), self.seed)
        else:
            example = images((FEW, channels, height, width), self.seed)
        with refused_sizes(name, {"image": tuple(example.shape)}):
            randomise(module, [example], seed=self.seed, only=blocks if self.pretrained else None, keep=users_own)
        return self._pruned(module)

    def _load(self, classifier: nn.Module, checkpoint: Path) -> None:
        if self.features is None:
            self.weight_notes[:] = checkpoints.load_into(classifier, checkpoint)
            return
        from .features import kept_keys

        needed = kept_keys(classifier, self.features)
        self.weight_notes[:] = checkpoints.load_into(classifier, checkpoint, optional=lambda key: key not in needed)

    def weights(self, digest: str) -> str:
        if self.pretrained:
            random = f"; its blocks random, seed {self.seed}" if self.insertions else ""
            return f"timm's published weights of {self.backbone.name}{random}"
        return checkpoint_words(self.checkpoint, digest) or f"random, seed {self.seed}, scaled layer by layer"


@dataclass(frozen=True)
class UserModule(Recipe):
    """The module that ``py:package.module:factory`` gives; only a checkpoint touches its weights."""

    name: str
    seed: int = 0
    checkpoint: Path | None = None

    def make(self) -> nn.Module:
        """The module as the factory gives it."""
        require(PYTORCH)
        with seeded(self.seed):
            return make(self.name)

    def structure(self, inputs: Sequence[TensorSpec], axes: Mapping[str, Axis]) -> tuple[nn.Module, list[nn.Module]]:
        return self.make(), []

    def make_with_weights(self, inputs: Sequence[TensorSpec], axes: Mapping[str, Axis]) -> nn.Module:
        module = self.make()
        if self.checkpoint is not None:
            self.weight_notes[:] = checkpoints.load_into(module, self.checkpoint)
        return module

    def weights(self, digest: str) -> str:
        return checkpoint_words(self.checkpoint, digest) or f"as {self.name} gives them, seed {self.seed}"


@dataclass(frozen=True)
class Forward:
    """The inputs of a module's forward: their names in order, how many are required, whether it takes ``*args``."""

    names: tuple[str, ...]
    required: int
    variadic: bool

    @classmethod
    def of(cls, module: nn.Module) -> Forward:
        parameters = list(inspect.signature(module.forward).parameters.values())
        positional = [item for item in parameters if item.kind in (item.POSITIONAL_ONLY, item.POSITIONAL_OR_KEYWORD)]
        for item in parameters:
            if item.kind is item.KEYWORD_ONLY and item.default is item.empty:
                line = definition_line(module)
                raise ModuleRefused(
                    f"received {type(module).__name__}, whose forward{f' at {line}' if line else ''} needs "
                    f"{item.name!r} by keyword; expected inputs by position; wrap it in a module that passes them on"
                )
        return cls(
            names=tuple(item.name for item in positional),
            required=sum(item.default is item.empty for item in positional),
            variadic=any(item.kind is item.VAR_POSITIONAL for item in parameters),
        )

    def positional(self, count: int) -> list[str]:
        """Names for the first ``count`` inputs."""
        extra = count - len(self.names)
        if extra > 0 and not self.variadic:
            raise InputError(
                f"received {count} inputs; expected {len(self.names)}, of forward({', '.join(self.names)}); "
                "leave the others out"
            )
        if not self.names:
            return ["input"] if count == 1 else [f"input_{index}" for index in range(count)]
        return [*self.names[:count], *(f"input_{len(self.names) + index}" for index in range(extra))]

    def named(self, shapes: Sequence[Shape]) -> list[Shape]:
        """The shapes in forward's order, every required input among them."""
        if self.variadic and any(shape.name and shape.name not in self.names for shape in shapes):
            return list(shapes)
        ordered = named(shapes, self.positional(max(len(shapes), len(self.names))))
        given = [shape.name for shape in ordered]
        absent = [name for name in self.names[: self.required] if name not in given]
        if absent:
            raise InputError(
                f"received no shape for input {absent[0]!r}; expected one for each of "
                f"forward({', '.join(self.names)}); add --shape {absent[0]}=SIZES"
            )
        return ordered


def check_module(module: nn.Module) -> None:
    """Raise ModuleRefused for a module that is no Python any more, and for weights outside float32 or the CPU."""
    import torch

    if not isinstance(module, torch.nn.Module):
        raise InputError(f"received a {type(module).__name__}; expected a torch.nn.Module; give the module itself")
    check_traceable(module)
    for kind, named_tensors in (("parameter", module.named_parameters()), ("buffer", module.named_buffers())):
        for key, tensor in named_tensors:
            if tensor.is_floating_point() and tensor.dtype != torch.float32:
                raise ModuleRefused(
                    f"received {kind} {key} in {str(tensor.dtype).removeprefix('torch.')}; expected float32; "
                    "call .float() on the module"
                )
            if tensor.device.type != "cpu":
                raise ModuleRefused(
                    f"received {kind} {key} on {tensor.device}; expected the CPU; call .cpu() on the module"
                )


def check_runs(module: nn.Module, inputs: Sequence[TensorSpec], axes: Mapping[str, Axis]) -> None:
    """Run the module at the traced sizes with the smallest batch; SizesRefused if it raises."""
    sizes = {name: axis.min if name == "batch" else axis.opt for name, axis in axes.items()}
    _check_at(sizes, module, inputs, axes)


def check_smallest(module: nn.Module, inputs: Sequence[TensorSpec], axes: Mapping[str, Axis]) -> None:
    """Run the module at the smallest sizes of ``axes``; SizesRefused if it raises.

    Do this when the trace has narrowed the ranges: a module of windows takes none but their multiples.
    """
    _check_at({name: axis.min for name, axis in axes.items()}, module, inputs, axes)


def _check_at(
    sizes: Mapping[str, int], module: nn.Module, inputs: Sequence[TensorSpec], axes: Mapping[str, Axis]
) -> None:
    import torch

    from .copying import copy_module

    if not inputs:
        return
    # a copy, since a forward pass may leave something behind
    module = copy_module(module, shares_parameters=True)
    shapes = {spec.name: spec.resolve(sizes) for spec in inputs}
    advice = _advice_on_shared(inputs, axes)
    with refused_sizes(type(module).__name__, shapes, advice), torch.no_grad():
        module(*(_example(spec, shapes[spec.name]) for spec in inputs))


def _advice_on_shared(inputs: Sequence[TensorSpec], axes: Mapping[str, Axis]) -> str:
    """Return what to do if an axis that several inputs share is theirs by chance; "" if none is shared."""
    for axis in axes:
        sharing = [spec for spec in inputs if axis in spec.shape]
        if len(sharing) > 1 and axis in ALL_AXES:
            named = " and ".join(f"axis {spec.shape.index(axis)} of {spec.name}" for spec in sharing)
            first = sharing[0].name
            apart = f"{first}.{axis}={axes[axis].text}"
            return f"{axis} is {named}: if it is only that of {first}, write --dynamic {apart}; else "
    return ""


def example_shape(name: str, value: Any) -> Shape:
    """The shape, dtype and range of an example input; InputError for what is no tensor or of a dtype not supported."""
    import torch

    if not isinstance(value, torch.Tensor):
        raise InputError(
            f"received a {type(value).__name__} for input {name!r}; expected a torch.Tensor; give one per input"
        )
    dtype = str(value.dtype).removeprefix("torch.")
    if dtype not in FLOAT_DTYPES + INTEGER_DTYPES or value.ndim == 0 or value.numel() == 0:
        raise InputError(
            f"received {dtype}{list(value.shape)} for input {name!r}; expected one axis or more, no size of 0, and "
            f"{', '.join(FLOAT_DTYPES + INTEGER_DTYPES)}; convert it"
        )
    if dtype in FLOAT_DTYPES or dtype == "bool":
        return Shape(name, tuple(value.shape), dtype)
    return Shape(name, tuple(value.shape), dtype, int(value.min()), int(value.max()))


def _example(spec: TensorSpec, shape: tuple[int, ...]) -> Tensor:
    import torch

    dtype: torch.dtype = getattr(torch, spec.dtype)
    low, high = spec.bounds or (0, 1)
    if dtype.is_floating_point:
        return (low + (high - low) * torch.rand(shape, generator=torch.Generator().manual_seed(0))).to(dtype)
    return torch.full(shape, low).to(dtype)


def images(shape: tuple[int, ...], seed: int) -> Tensor:
    """Noise with a mean of its own per channel and per position: pure noise would leave every pooled value near 0."""
    import torch

    generator = torch.Generator().manual_seed(seed ^ IMAGE_SEED)
    channels = torch.randn((*shape[:2], 1, 1), generator=generator)
    positions = torch.randn((shape[0], 1, *shape[2:]), generator=generator)
    return torch.randn(shape, generator=generator) + channels + positions


def traced(spec: TensorSpec, axes: Mapping[str, Axis]) -> tuple[int, ...]:
    return spec.resolve({name: axis.opt for name, axis in axes.items()})


def checkpoint_words(checkpoint: Path | None, digest: str) -> str:
    return "" if checkpoint is None else f"checkpoint {checkpoint.name}, sha256 {digest}"


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """torch's random numbers from ``seed``, the caller's own left as they were."""
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


@contextmanager
def refused_sizes(name: str, shapes: Mapping[str, tuple[int, ...]], advice: str = "") -> Iterator[None]:
    """Turn what a forward pass raises into SizesRefused, one line with the sizes that it was given and ``advice``."""
    try:
        yield
    except Attn2trtError:
        raise
    except Exception as error:
        given = ", ".join(f"{key}={'x'.join(map(str, shape))}" for key, shape in shapes.items())
        otherwise = f"expected sizes that its forward takes; {advice}change --shape or --dynamic"
        said = f"received {given} for {name}, which raised {raised(error)}; {remedy(error, otherwise)}"
        raise SizesRefused(said) from error
