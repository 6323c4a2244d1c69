"""The sizes at which a plan is timed: those of shapes that are given, else the optimum of its first profile."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..core.bundle import Bundle
from ..core.dimension import is_name
from ..core.tensor_spec import TensorSpec, optima
from ..engines.tensorrt.plans import Plan
from ..engines.tensorrt.profiles import is_held
from ..errors import InputError
from ..modules.shapes import named, parse_shapes


def sizes_at(bundle: Bundle, plan: Plan, shapes: Sequence[str]) -> dict[str, int]:
    """Return the size of every axis of a bundle.

    Raises InputError for shapes that are not the bundle's, and for sizes that no profile of the plan holds.
    """
    sizes = optima(plan.profiles[0].axes)
    specs = bundle.inputs_of(plan.precision)
    if shapes:
        parsed = named(parse_shapes(shapes), [spec.name for spec in specs])
        given = {shape.name: shape.sizes for shape in parsed}
        for spec in specs:
            sizes |= _solved(spec, given.get(spec.name))
        _require(bundle, specs, sizes, given)
    if not is_held(plan.profiles, sizes):
        ranges = " or ".join(map(str, plan.profiles))
        raise InputError(
            f"received {_words(specs, sizes)} for {plan.file} in {bundle.path}; expected a shape inside {ranges}; "
            "correct --shape, or compile with a --profile that holds it"
        )
    return sizes


def require_same_inputs(model: Bundle, plain: Bundle, plan: Plan, sizes: Mapping[str, int]) -> None:
    """Raise InputError unless the plan of ``plain`` takes the same inputs as ``model`` at these sizes."""
    wanted, found = (
        {spec.name: (spec.shape, spec.dtype) for spec in bundle.inputs_of(plan.precision)} for bundle in (model, plain)
    )
    if wanted != found or {*model.axes} != {*plain.axes}:
        raise InputError(
            f"received --backbone {plain.path} with the inputs {_listed(plain, plan)}; expected those of {model.path}, "
            f"{_listed(model, plan)}; deploy both with the same --shape, --dynamic and --io"
        )
    sizes_at(plain, plan, [f"{spec.name}={_x(spec, sizes)}" for spec in plain.inputs_of(plan.precision)])


def recorded_case(bundle: Bundle, plan: Plan) -> Mapping[str, Any] | None:
    """Return the manifest's entry of the first recorded case that the plan can be asked; None if it holds none."""
    io = bundle.io(plan.precision)
    return next(
        (
            entry
            for entry in bundle.manifest["cases"]
            if entry.get("io", io) == io and is_held(plan.profiles, entry["sizes"])
        ),
        None,
    )


def _solved(spec: TensorSpec, sizes: tuple[int, ...] | None) -> dict[str, int]:
    """Return the sizes of the axes that an input's shape names."""
    if sizes is None or len(sizes) != len(spec.shape):
        return {}
    return {dim: size for dim, size in zip(spec.shape, sizes, strict=True) if isinstance(dim, str) and is_name(dim)}


def _require(
    bundle: Bundle, specs: Sequence[TensorSpec], sizes: Mapping[str, int], given: Mapping[str, tuple[int, ...]]
) -> None:
    """Raise InputError if an input would not have the shape that was given."""
    for spec in specs:
        if spec.name in given and spec.resolve(sizes) != given[spec.name]:
            raise InputError(
                f"received --shape {'x'.join(map(str, given[spec.name]))} for {spec.name} of {bundle.path}; expected "
                f"{'x'.join(map(str, spec.shape))}; correct the sizes"
            )


def _words(specs: Sequence[TensorSpec], sizes: Mapping[str, int]) -> str:
    return ", ".join(f"{spec.name} {_x(spec, sizes)}" for spec in specs)


def _x(spec: TensorSpec, sizes: Mapping[str, int]) -> str:
    return "x".join(map(str, spec.resolve(sizes)))


def _listed(bundle: Bundle, plan: Plan) -> str:
    specs = bundle.inputs_of(plan.precision)
    return ", ".join(f"{spec.name} {spec.dtype} {'x'.join(map(str, spec.shape))}" for spec in specs)
