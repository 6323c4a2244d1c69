"""The weights of a user's own code: as it makes them, or drawn anew from a seed."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from ..core.tensor_spec import FLOAT_DTYPES, Axis, TensorSpec, optima
from ..errors import InputError
from .checks import refused_sizes
from .noise import CALIBRATION_BATCH, FEW, IMAGE_SEED, images

if TYPE_CHECKING:
    from torch import Tensor, nn

BATCH = "batch"


def random_words(seed: int) -> str:
    """Return the origin of drawn weights, in words."""
    return f"random, seed {seed}, scaled layer by layer"


def kept(blocks: Iterable[nn.Module], *, random: bool) -> set[nn.Module]:
    """Return the parts of blocks put into a network that keep their weights: all of a user's own, or what it froze."""
    own = [block for block in blocks if not type(block).__module__.startswith(f"{__package__}.")]
    return {part for block in own for part in (frozen(block) if random else block.modules())}


def frozen(module: nn.Module) -> set[nn.Module]:
    """Return the parts of a module that hold a parameter of which no gradient is wanted."""
    return {part for part in module.modules() if not all(own.requires_grad for own in part.parameters(recurse=False))}


def draw(
    module: nn.Module, inputs: Sequence[TensorSpec], axes: Mapping[str, Axis], *, name: str, seed: int
) -> list[str]:
    """Draw the weights of a user's module in place, scaled layer by layer at its traced sizes; what it froze stays.

    Returns what is to be said of it. Raises InputError if nothing is left to draw, or the module cannot take the sizes.
    """
    from .copying import copy_module
    from .randomise import randomise

    if not any(own.requires_grad for own in module.parameters()):
        raise InputError(
            f"received --random-weights for {name}, which has no weights that train; expected some to draw; leave it "
            "out, or leave requires_grad of some as it is"
        )
    few, many = (_sizes(axes, rows) for rows in (FEW, CALIBRATION_BATCH))
    shapes = {spec.name: spec.resolve(few) for spec in inputs}
    drawn = copy_module(module)  # a forward pass may leave something behind, as biases in float64
    with refused_sizes(name, shapes, lambda: ""):
        more = _examples(inputs, many, seed) if many != few else []
        randomise(drawn, _examples(inputs, few, seed), seed=seed, keep=frozen(drawn), more=more)
    module.load_state_dict(drawn.state_dict())
    keep = frozen(module)
    return [f"{_named(module, keep)}, which needs no gradient, as {name} gives it"] if keep else []


def _named(module: nn.Module, parts: Collection[nn.Module]) -> str:
    """Return the path of the first of some parts, and how many others there are."""
    first = next(path for path, part in module.named_modules() if part in parts) or "the module itself"
    return first if len(parts) == 1 else f"{first}, as {len(parts) - 1} more"


def _sizes(axes: Mapping[str, Axis], rows: int) -> dict[str, int]:
    """Return the traced sizes with as near to so many rows as the batch may have, if it may vary."""
    if BATCH not in axes:
        return optima(axes)
    return {**optima(axes), BATCH: min(axes[BATCH].sizes, key=lambda size: abs(size - rows))}


def _examples(inputs: Sequence[TensorSpec], sizes: Mapping[str, int], seed: int) -> list[Tensor]:
    """Return ordinary inputs of these sizes, each of its own."""
    return [_ordinary(spec, spec.resolve(sizes), seed + place) for place, spec in enumerate(inputs)]


def _ordinary(spec: TensorSpec, shape: tuple[int, ...], seed: int) -> Tensor:
    import torch

    generator = torch.Generator().manual_seed(seed ^ IMAGE_SEED)
    if spec.dtype not in FLOAT_DTYPES:
        low, high = spec.bounds or (0, 1)
        return torch.randint(int(low), int(high) + 1, shape, generator=generator).to(getattr(torch, spec.dtype))
    if spec.bounds is not None:
        low, high = spec.bounds
        return low + (high - low) * torch.rand(shape, generator=generator)
    if len(shape) < 3:
        return torch.randn(shape, generator=generator)
    if spec.layout == "nhwc":
        return images((shape[0], shape[-1], *shape[1:-1]), seed).movedim(1, -1)
    return images(shape, seed)
