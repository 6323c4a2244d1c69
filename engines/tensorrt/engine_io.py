"""The inputs, outputs and profiles of an engine, beside those of the graph that it is said to be built from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...core.dimension import is_name
from ...core.tensor_spec import Axis, TensorSpec
from ...errors import CheckFailed
from .profiles import Profile

FROM_ANOTHER = "it was built from another model; name the one that it was built from"


def require_io(engine: Any, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]) -> None:
    """Raise CheckFailed unless the engine has these inputs and outputs, by name and number of dimensions."""
    found: dict[str, list[str]] = {"INPUT": [], "OUTPUT": []}
    for index in range(engine.num_io_tensors):
        name = engine.get_tensor_name(index)
        found[str(engine.get_tensor_mode(name)).rpartition(".")[2]].append(name)
    for kind, specs in (("INPUT", inputs), ("OUTPUT", outputs)):
        names = [spec.name for spec in specs]
        if sorted(found[kind]) != sorted(names):
            raise CheckFailed(
                f"the plan has the {kind.lower()}s {', '.join(sorted(found[kind])) or 'none'}, the model "
                f"{', '.join(sorted(names)) or 'none'}: {FROM_ANOTHER}"
            )
        for spec in specs:
            shape = tuple(engine.get_tensor_shape(spec.name))
            if len(shape) != len(spec.shape):
                raise CheckFailed(f"the plan has {spec.name} {list(shape)}, the model {spec}: {FROM_ANOTHER}")


def engine_profiles(engine: Any, inputs: Sequence[TensorSpec]) -> tuple[Profile, ...]:
    """Return the ranges of the graph's axes in each profile of an engine.

    Raises CheckFailed if a fixed size of the graph lies in none, or if one axis has ranges without a size in common.
    """
    return tuple(_profile(engine, inputs, index) for index in range(engine.num_optimization_profiles))


def _profile(engine: Any, inputs: Sequence[TensorSpec], index: int) -> Profile:
    axes: dict[str, Axis] = {}
    for spec in inputs:
        shapes = (tuple(map(int, dims)) for dims in engine.get_tensor_profile_shape(spec.name, index))
        for dim, low, best, high in zip(spec.shape, *shapes, strict=True):
            if isinstance(dim, int):
                if not low <= dim <= high:
                    raise CheckFailed(
                        f"the plan takes {spec.name} with {low} to {high} where the model has {dim}: {FROM_ANOTHER}"
                    )
            elif is_name(dim):
                known = axes.get(dim, Axis(low, best, high))
                axes[dim] = _both(dim, known, low, high)
    return Profile(axes)


def _both(name: str, known: Axis, low: int, high: int) -> Axis:
    """Return the sizes of an axis that are in both ranges."""
    least, most = max(known.min, low), min(known.max, high)
    if least > most:
        raise CheckFailed(f"no size of {name} fits every input of the plan: {FROM_ANOTHER}")
    return Axis(least, min(max(known.opt, least), most), most)
