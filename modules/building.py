"""Make a target's module: create it from its seed, fill it with weights, and run it once at its sizes."""

from __future__ import annotations

import functools
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from ..core.tensor_spec import Axis, TensorSpec, optima
from . import checkpoint as checkpoints
from .backbones import index as backbones
from .backbones import timm
from .backbones.known import KNOWN, Backbone
from .block_index import BlockInfo, OptionValue, block_info
from .checks import check_module, check_runs, refused_sizes
from .grammar import Part
from .noise import CALIBRATION_BATCH, FEW, images
from .own_module import Forward
from .own_weights import draw, kept, random_words
from .packages import PYTORCH, require
from .trained_quantisers import fix_quantisers
from .user_code import make

if TYPE_CHECKING:
    from torch import Tensor, nn

CALIBRATION_SIZE = 72  # small, since float64 convolutions are slow on a CPU


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
        module = fix_quantisers(module.eval().requires_grad_(False))
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
        return checkpoint_words(self.checkpoint, digest) or random_words(self.seed)


@dataclass(frozen=True)
class BackboneWithBlocks(Recipe):
    """A classifier, or the feature maps of one at the indices ``features``, with blocks at their places."""

    backbone: Backbone
    insertions: tuple[Part, ...]
    seed: int = 0
    pretrained: bool = False
    checkpoint: Path | None = None
    random: bool = False  # the user's own blocks too
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
            arguments = self.backbone.arguments
            module = backbones.create(self.backbone.name, pretrained=self.pretrained, arguments=arguments)
            example = functools.partial(images, (1, *sizes), self.seed)
            return module, insert(module, self.backbone.name, self.insertions, lambda: [example()])

    def make_with_weights(self, inputs: Sequence[TensorSpec], axes: Mapping[str, Axis]) -> nn.Module:
        from .randomise import randomise

        name = self.backbone.name
        _, channels, height, width = shape = traced(inputs[0], axes)
        module, blocks = self._classifier(inputs, axes)
        if self.checkpoint is not None:
            self._load(module, self.checkpoint)
            return self._pruned(module)
        infos = [block_info(part.name) for part in self.insertions if not part.is_user_code]
        if name in KNOWN and not any(info.fixed_size for info in infos):
            # takes any size: a smaller one gives the same statistics sooner
            example, more = [images((CALIBRATION_BATCH, channels, CALIBRATION_SIZE, CALIBRATION_SIZE), self.seed)], []
        else:
            example, more = ([images((rows, channels, height, width), self.seed)] for rows in (FEW, CALIBRATION_BATCH))
        advice = functools.partial(timm.advice_on_size, self.backbone, height, width)
        with refused_sizes(name, {"image": shape}, advice):
            only = blocks if self.pretrained else None
            keep = kept(blocks, random=self.random)
            randomise(module, example, seed=self.seed, only=only, keep=keep, more=more)
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
            given = ",".join(f"{key}={value}" for key, value in self.backbone.arguments.items())
            fitted = f", as timm fits them to {given}" if given else ""
            return f"timm's published weights of {self.backbone.name}{fitted}{random}"
        return checkpoint_words(self.checkpoint, digest) or random_words(self.seed)


@dataclass(frozen=True)
class UserModule(Recipe):
    """The module that ``py:package.module:factory`` gives; only a checkpoint, or ``random``, touches its weights."""

    name: str
    seed: int = 0
    checkpoint: Path | None = None
    random: bool = False
    options: Mapping[str, str] = field(default_factory=dict)

    def make(self) -> nn.Module:
        """The module as the factory gives it."""
        require(PYTORCH)
        with seeded(self.seed):
            return make(self.name, self.options)

    def inputs(self) -> tuple[Forward, Sequence[Tensor]]:
        """Return what its forward takes, and tensors whose shapes are traced if none are given; none if nobody says."""
        return Forward.of(self.make()), ()

    def structure(self, inputs: Sequence[TensorSpec], axes: Mapping[str, Axis]) -> tuple[nn.Module, list[nn.Module]]:
        return self.make(), []

    def make_with_weights(self, inputs: Sequence[TensorSpec], axes: Mapping[str, Axis]) -> nn.Module:
        module = self.make()
        if self.checkpoint is not None:
            self.weight_notes[:] = checkpoints.load_into(module, self.checkpoint)
        elif self.random:
            self.weight_notes[:] = draw(module, inputs, axes, name=self.name, seed=self.seed)
        return module

    def weights(self, digest: str) -> str:
        if self.random:
            return random_words(self.seed)
        name = Part(self.name, self.options).without_places
        return checkpoint_words(self.checkpoint, digest) or f"as {name} gives them, seed {self.seed}"


def traced(spec: TensorSpec, axes: Mapping[str, Axis]) -> tuple[int, ...]:
    return spec.resolve(optima(axes))


def checkpoint_words(checkpoint: Path | None, digest: str) -> str:
    return "" if checkpoint is None else f"checkpoint {checkpoint.name}, sha256 {digest}"


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """torch's random numbers from ``seed``, the caller's own left as they were."""
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield
