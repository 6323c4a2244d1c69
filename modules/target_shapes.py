"""The shapes that are given for a TARGET, checked against what it takes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from ..core.tensor_spec import TensorSpec
from ..errors import InputError
from .axis_places import IMAGE_AXES
from .block_index import ALL_AXES, BlockInfo
from .building import UserModule
from .own_module import example_shape
from .shapes import Shape, named


def user_shapes(recipe: UserModule, given: Sequence[Shape]) -> list[Shape]:
    forward, example = recipe.inputs()
    names = forward.positional(len(example))
    given = given or [example_shape(name, value) for name, value in zip(names, example, strict=True)]
    if not given:
        first, *others = forward.positional(max(forward.required, 1))
        which = " without a default" if len(forward.names) > 1 + len(others) else ""
        raise InputError(
            f"received {recipe.name} without a shape; expected one for each input of {forward.text}{which}; add "
            + " ".join([f"--shape {first}=2x3x224x224", *(f"--shape {name}=SIZES" for name in others)])
        )
    return forward.named(given)


def check_axes(infos: Sequence[BlockInfo], image: TensorSpec, spec: str) -> None:
    is_image = len(image.shape) == 4
    names = IMAGE_AXES["nchw"] if is_image else {0: "batch"}
    for place, dim in enumerate(image.shape):
        axis = names.get(place)
        if isinstance(dim, str) and axis is None and is_image:
            raise InputError(
                f"received dynamic {dim} for {spec}; expected {' or '.join(ALL_AXES)}, since its weights fix the "
                f"channels; leave {dim} out of --dynamic"
            )
        for info in infos:
            if isinstance(dim, str) and axis not in info.axes:
                raise InputError(
                    f"received dynamic {dim} for {info.name}; expected {' or '.join(info.axes)} alone, since its "
                    f"weights belong to one image size; leave {dim} out of --dynamic"
                )


def single_shape(given: Sequence[Shape], name: str, default: tuple[int, ...], spec: str) -> Shape:
    return shapes_of(given, {name: default}, spec)[0]


def shapes_of(given: Sequence[Shape], defaults: Mapping[str, tuple[int, ...]], spec: str) -> list[Shape]:
    """Return a shape for each input, by its name: a single one without a name is that of all that are alike."""
    names = list(defaults)
    if len(given) == 1 and not given[0].name and len({*defaults.values()}) == 1:
        given = [replace(given[0], name=name) for name in names]
    found = named(given, names) if given else [Shape(name, sizes) for name, sizes in defaults.items()]
    if lacking := names[len(found) :]:
        example = "x".join(map(str, defaults[lacking[0]]))
        raise InputError(
            f"received no shape for {lacking[0]} of {spec}; expected one for each of {', '.join(names)}; add --shape "
            f"{lacking[0]}={example}"
        )
    return [_of_kind(shape, defaults[shape.name], spec) for shape in found]


def _of_kind(shape: Shape, default: tuple[int, ...], spec: str) -> Shape:
    """Return the shape of an image, or of whatever ``default`` is one of; InputError for another kind."""
    is_image = len(default) == 4
    if len(shape.sizes) != len(default) or shape.dtype != "float32":
        expected = "four sizes of float32, (n, c, h, w)" if is_image else f"{len(default)} sizes of float32"
        raise InputError(
            f"received shape {shape.unnamed} for {spec}; expected {expected}; write it as {'x'.join(map(str, default))}"
        )
    if shape.layout == "nhwc":
        raise InputError(f"received the layout nhwc for {spec}; expected (n, c, h, w), as it is built; leave it out")
    return replace(shape, layout="nchw") if is_image else shape
