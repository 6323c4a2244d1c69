"""Make the module of a library's target: create it, put blocks into it, fill it with weights, keep its results."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ...core.tensor_spec import Axis, TensorSpec
from .. import building, checkpoint
from ..checks import refused_sizes
from ..grammar import Part
from ..noise import CALIBRATION_BATCH, FEW, images
from ..own_weights import kept, random_words
from .library import LibraryModel, keep_results
from .size_advice import size_advice

if TYPE_CHECKING:
    from torch import Tensor, nn

# the longer side of the images that random weights are scaled by, and what both sides are multiples of
CALIBRATION_SIDE, CALIBRATION_STEP = 256, 32


@dataclass(frozen=True)
class LibraryModule(building.Recipe):
    """A library's model with blocks at their places.

    The blocks of a model with published weights are random; so is the whole of any other without a checkpoint.
    """

    name: str
    model: LibraryModel
    insertions: tuple[Part, ...] = ()
    seed: int = 0
    checkpoint: Path | None = None
    random: bool = False  # the user's own blocks too

    @property
    def identity(self) -> str:
        return f"{self.model.source}\n{self.model.digest}"

    def structure(self, inputs: Sequence[TensorSpec], axes: Mapping[str, Axis]) -> tuple[nn.Module, list[nn.Module]]:
        module, blocks = self._whole(inputs, axes)
        self._finish(module)
        return module, blocks

    def make_with_weights(self, inputs: Sequence[TensorSpec], axes: Mapping[str, Axis]) -> nn.Module:
        from ..randomise import randomise

        module, blocks = self._whole(inputs, axes)
        shapes = [building.traced(spec, axes) for spec in inputs]
        if self.checkpoint is not None:
            self.weight_notes[:] = checkpoint.load_into(module, self.checkpoint, optional=self.model.is_optional)
            return self._finished(module, shapes)
        # what is taken away would not be reached by the example that scales the weights
        module = self._finished(module, shapes)
        only = blocks if self.model.trained else None
        if only is None or only:
            with self._refused(shapes):
                example = self._example(module, shapes)
                more = self._images([(CALIBRATION_BATCH, *image.shape[1:]) for image in example])
                keep = kept(blocks, random=self.random)
                randomise(module, example, seed=self.seed, only=only, keep=keep, more=more)
        return module

    def _whole(self, inputs: Sequence[TensorSpec], axes: Mapping[str, Axis]) -> tuple[nn.Module, list[nn.Module]]:
        """Return the model with every part that the library gives it, and the blocks that were put in."""
        from ..placement import insert

        shapes = [(1, *building.traced(spec, axes)[1:]) for spec in inputs]
        with building.seeded(self.seed):
            module = keep_results(self.model.create().eval(), self.model.results, self.model.keywords)
            with self._refused(shapes):
                return module, insert(module, self.name, self.insertions, lambda: self._images(shapes))

    def _finish(self, module: nn.Module) -> None:
        self.notes[:] = [*self.model.notes, *self.model.finish(module)]

    def _finished(self, module: nn.Module, shapes: Sequence[Sequence[int]]) -> nn.Module:
        """Return the module without what no result needs, after a run that tells what it gives beside them."""
        self._finish(module)
        with self._refused(shapes):
            self.notes.extend(self.model.left_out(module, *self._example(module, shapes)))
        return module

    def _refused(self, shapes: Sequence[Sequence[int]]) -> AbstractContextManager[None]:
        """Turn what the model raises at these shapes into a refusal, with the options by which it takes them."""
        given = {name: tuple(shape) for name, shape in zip(self.model.inputs, shapes, strict=True)}
        return refused_sizes(self.name, given, lambda: size_advice(self.model, shapes))

    def _images(self, shapes: Sequence[Sequence[int]]) -> list[Tensor]:
        """Return images of these shapes, each of its own."""
        return [images(tuple(shape), self.seed + place) for place, shape in enumerate(shapes)]

    def _example(self, module: nn.Module, shapes: Sequence[Sequence[int]]) -> list[Tensor]:
        """Return the images that scale the weights: small ones if the model takes them, which is sooner."""
        import torch

        whole = [(FEW, *shape[1:]) for shape in shapes]
        small = list(map(_reduced, whole))
        if small != whole:
            reduced = self._images(small)
            with contextlib.suppress(Exception), torch.no_grad():  # a model of one size says so in its own way
                module(*reduced)
                return reduced
        return self._images(whole)

    def weights(self, digest: str) -> str:
        if self.checkpoint is not None:
            return building.checkpoint_words(self.checkpoint, digest)
        if self.model.trained:
            return self.model.trained + (f"; its blocks random, seed {self.seed}" if self.insertions else "")
        return random_words(self.seed)


def _reduced(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return the shape of images whose longer side is CALIBRATION_SIDE at most."""
    height, width = shape[-2:]
    scale = CALIBRATION_SIDE / max(height, width)
    if scale >= 1.0:
        return shape
    return (*shape[:-2], *(math.ceil(side * scale / CALIBRATION_STEP) * CALIBRATION_STEP for side in (height, width)))
