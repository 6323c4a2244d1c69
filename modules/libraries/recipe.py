"""Make the module of a library's target: create it, put blocks into it, fill it with weights, keep its results."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ...core.tensor_spec import Axis, TensorSpec
from .. import building, checkpoint
from ..checks import refused_sizes
from ..grammar import Part
from .library import LibraryModel, keep_results

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
        if self.checkpoint is not None:
            self.weight_notes[:] = checkpoint.load_into(module, self.checkpoint, optional=self.model.is_optional)
            return self._finished(module, building.traced(inputs[0], axes))
        # what is taken away would not be reached by the example that scales the weights
        shape = building.traced(inputs[0], axes)
        module = self._finished(module, shape)
        users_own = [block for block in blocks if not type(block).__module__.startswith(f"{building.__package__}.")]
        only = blocks if self.model.trained else None
        if only is None or only:
            with refused_sizes(self.name, {self.model.input_name: tuple(shape)}):
                randomise(module, [self._example(module, shape)], seed=self.seed, only=only, keep=users_own)
        return module

    def _whole(self, inputs: Sequence[TensorSpec], axes: Mapping[str, Axis]) -> tuple[nn.Module, list[nn.Module]]:
        """Return the model with every part that the library gives it, and the blocks that were put in."""
        from ..placement import insert

        sizes = building.traced(inputs[0], axes)[1:]
        with building.seeded(self.seed):
            module = keep_results(self.model.create().eval(), self.model.results)
            example: Callable[[], Tensor] = functools.partial(building.images, (1, *sizes), self.seed)
            with refused_sizes(self.name, {self.model.input_name: (1, *sizes)}):
                return module, insert(module, self.name, self.insertions, lambda: [example()])

    def _finish(self, module: nn.Module) -> None:
        self.notes[:] = [*self.model.notes, *self.model.finish(module)]

    def _finished(self, module: nn.Module, shape: Sequence[int]) -> nn.Module:
        """Return the module without what no result needs, after a run that tells what it gives beside them."""
        self._finish(module)
        with refused_sizes(self.name, {self.model.input_name: tuple(shape)}):
            self.notes.extend(self.model.left_out(module, self._example(module, shape)))
        return module

    def _example(self, module: nn.Module, shape: Sequence[int]) -> Tensor:
        """Return the images that scale the weights: small ones if the model takes them, which is sooner."""
        import torch

        channels, height, width = shape[1:]
        scale = min(1.0, CALIBRATION_SIDE / max(height, width))
        sides = [math.ceil(side * scale / CALIBRATION_STEP) * CALIBRATION_STEP for side in (height, width)]
        if scale < 1.0:
            small = building.images((building.FEW, channels, *sides), self.seed)
            try:
                with torch.no_grad():
                    module(small)
            except Exception:  # a model of one size: it says so in whatever way it likes
                return building.images((building.FEW, *shape[1:]), self.seed)
            return small
        return building.images((building.FEW, *shape[1:]), self.seed)

    def weights(self, digest: str) -> str:
        if self.checkpoint is not None:
            return building.checkpoint_words(self.checkpoint, digest)
        if self.model.trained:
            return self.model.trained + (f"; its blocks random, seed {self.seed}" if self.insertions else "")
        return f"random, seed {self.seed}, scaled layer by layer"
