"""Resolve the caller's own module, an instance, to everything that its export needs to know."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from ..core.tensor_spec import FLOAT_DTYPES, INTEGER_DTYPES, Axis, TensorSpec
from ..errors import InputError, ModuleRefused
from .checks import check_module, check_runs
from .default_batch import plans
from .dynamic import Ranges
from .own_weights import draw, random_words
from .shapes import Shape, layouts_of, named, parse_shapes, with_layouts
from .target import Target
from .traceable import accept_eval
from .trained_quantisers import fix_quantisers
from .user_line import definition_line

if TYPE_CHECKING:
    from torch import Tensor, nn


def from_module(
    module: nn.Module,
    example_inputs: Tensor | Sequence[Tensor] | Mapping[str, Tensor] | None = None,
    *,
    shapes: Sequence[str] = (),
    dynamic: str | Ranges | None = None,
    name: str | None = None,
    input_names: Sequence[str] | None = None,
    layout: str | Mapping[str, str] | None = None,
    any_batch: bool = False,
    seed: int | None = None,
) -> Target:
    """Return the target of the caller's own module, whose ``build`` returns a copy in eval mode.

    Args:
        module: The module, which is left as it is.
        example_inputs: Inputs at whose sizes it is traced; a mapping gives them by the names of ``forward``'s
            parameters. Integer inputs range over what the example holds.
        shapes: The sizes in place of examples, as ``--shape`` takes them.
        dynamic: The axes that vary, as ``--dynamic`` takes them or as a dict of triples.
        name: The target's name; by default the module's class.
        input_names: Names of the inputs in place of ``forward``'s.
        layout: "nhwc" if the last axis of images holds the channels, or a mapping from an input's name to its layout.
        any_batch: Apply the default batch, as ``default_batch.plans`` says.
        seed: Draws the weights of the copy anew; None keeps them.

    Raises:
        InputError: An argument is wrong, or the module cannot take the sizes.
        ModuleRefused: The module is not in float32 on the CPU.
    """
    check_module(module)
    forward = Forward.of(module)
    if example_inputs is None:
        given = forward.named(parse_shapes(shapes))
    elif isinstance(example_inputs, Mapping):
        examples = [example_shape(key, value) for key, value in example_inputs.items()]
        given = forward.named(examples)
    else:
        values = list(example_inputs) if isinstance(example_inputs, (tuple, list)) else [example_inputs]
        names = forward.positional(len(values))
        given = forward.named([example_shape(key, value) for key, value in zip(names, values, strict=True)])
    if input_names is not None:
        if len(input_names) != len(given) or len(set(input_names)) != len(given):
            raise InputError(
                f"received input_names {list(input_names)} for {len(given)} inputs; expected one different name each; "
                "correct input_names"
            )
        given = [replace(shape, name=new) for shape, new in zip(given, input_names, strict=True)]
    planned = plans(with_layouts(given, layouts_of(layout)), dynamic, fixed=True, any_batch=any_batch)
    targets = [_of_module(module, inputs, axes, name, seed) for inputs, axes in planned]
    return replace(targets[0], fallbacks=tuple(targets[1:]))


def _of_module(
    module: nn.Module, inputs: tuple[TensorSpec, ...], axes: Mapping[str, Axis], name: str | None, seed: int | None
) -> Target:
    name = name or type(module).__name__
    notes: list[str] = []

    def ready() -> nn.Module:
        from .copying import copy_module

        copied = accept_eval(copy_module(module)).eval()
        if seed is not None:
            notes[:] = draw(copied, inputs, axes, name=name, seed=seed)
        copied = fix_quantisers(copied)
        check_runs(copied, inputs, axes)
        return copied

    return Target(
        name=name,
        build=ready,
        inputs=inputs,
        axes=axes,
        source=f"{type(module).__module__}.{type(module).__qualname__}",
        weights="as the caller's module holds them" if seed is None else random_words(seed),
        weight_notes=notes,
    )


@dataclass(frozen=True)
class Forward:
    """The inputs of a module's forward: their names in order, how many are required, whether it takes ``*args``."""

    names: tuple[str, ...]
    required: int
    variadic: bool

    @property
    def text(self) -> str:
        """The call for an error message, as ``forward(image, mask=…)``: what has a default may be left out."""
        defaults = [f"{name}=…" for name in self.names[self.required :]]
        return f"forward({', '.join([*self.names[: self.required], *defaults])})"

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
                f"received {count} inputs; expected {len(self.names)}, of {self.text}; leave the others out, or wrap a "
                "module that takes a list in one whose forward takes tensors and passes them on as one"
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
                f"received no shape for input {absent[0]!r}; expected one for each of {self.text} without a default; "
                f"add --shape {absent[0]}=SIZES"
            )
        return ordered


def example_shape(name: str, value: Any) -> Shape:
    """The shape, dtype and range of an example input; InputError for what is no tensor or of a dtype not supported."""
    import torch

    if not isinstance(value, torch.Tensor):
        raise InputError(
            f"received a {type(value).__name__} for input {name!r}; expected a torch.Tensor; give one per input, and "
            "wrap a module that takes a list, a dict or None in one whose forward takes tensors and passes that on"
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
