"""The names by which the axes of inputs are called, and the dimensions that each stands for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ..core.nearest import nearest
from ..errors import InputError
from .shapes import Shape

IMAGE_AXES: Mapping[str, Mapping[int, str]] = {
    "nchw": {0: "batch", 2: "height", 3: "width"},
    "nhwc": {0: "batch", 1: "height", 2: "width"},
}
# of a clip, (n, c, t, h, w) or (n, t, c, h, w)
CLIP_AXES: Mapping[int, str] = {0: "batch", 3: "height", 4: "width"}
# (input, dimension)
Place = tuple[int, int]
# A last axis of so many sizes behind two larger ones is that of an image's channels, as far as sizes tell.
_COLOURS, _SMALL_IMAGE = (1, 3), 8


class AxisPlaces:
    """Every name that an axis may be called by, and the dimensions that it stands for.

    Inputs share ``batch`` if their first axes agree with the first image's, ``height`` and ``width`` if all images
    agree, or all clips if there are no images. ``dimN`` is axis N of the only input; ``NAME.dimN`` and ``NAME.height``
    are those of one input.
    """

    def __init__(self, shapes: Sequence[Shape]) -> None:
        self._shapes = shapes
        self._found: dict[str, list[Place]] = {}
        of_rank = {rank: [index for index, shape in enumerate(shapes) if len(shape.sizes) == rank] for rank in (4, 5)}
        self._images = images = of_rank[4] or of_rank[5]
        batch = shapes[images[0] if images else 0].sizes[0] if shapes else 0
        self._found["batch"] = [(index, 0) for index, shape in enumerate(shapes) if shape.sizes[0] == batch]
        for name in ("height", "width"):
            sides = [(index, _side(shapes[index], name)) for index in images]
            if len({_size(shapes[index], name) for index in images}) == 1:
                self._found[name] = sides
        self._shown = list(self._found)
        for index, shape in enumerate(shapes):
            self._add(index, shape)

    def _add(self, index: int, shape: Shape) -> None:
        is_image = len(shape.sizes) == 4
        known = {name: dim for dim, name in _axes(shape).items()}
        names = known | {f"dim{dim}": dim for dim in range(len(shape.sizes))}
        for name, dim in names.items():
            is_only, qualified = len(self._shapes) == 1, f"{shape.name}.{name}"
            for known_as in (name, qualified) if is_only else (qualified,):
                self._found.setdefault(known_as, [(index, dim)])
            shown = name if is_only else qualified
            if (name in known or not is_image) and shown not in self._shown:
                self._shown.append(shown)

    def __contains__(self, name: str) -> bool:
        return name in self._found

    def __getitem__(self, name: str) -> list[Place]:
        """The dimensions of this name; InputError for an unknown one, and for a side of what may be no (n, c, h, w)."""
        if name not in self._found and name in ("height", "width") and self._images:
            raise InputError(self._untied(name))
        if name not in self._found:
            others = "dimN for axis N" if len(self._shapes) == 1 else "NAME.dimN for axis N of input NAME"
            raise InputError(
                f"received dynamic axis {name!r}; expected {' or '.join(self._shown)}"
                f"; {nearest(name, list(self._found), f'name one of them, or {others}')}"
            )
        if name.rpartition(".")[2] in ("height", "width"):
            for index, _ in self._found[name]:
                _check_layout(self._shapes[index], name)
        return self._found[name]

    def _untied(self, name: str) -> str:
        """The error of a side that images do not share, with how to tie the smaller ones to the largest."""
        sizes = {self._shapes[index].name: _size(self._shapes[index], name) for index in self._images}
        largest = max(sizes, key=lambda image: sizes[image])
        ties = [
            f"{image}.{name}={largest}.{name}" + (f"/{sizes[largest] // size}" if size < sizes[largest] else "")
            for image, size in sizes.items()
            if image != largest and sizes[largest] % size == 0
        ]
        found = ", ".join(f"{image} of {size}" for image, size in sizes.items())
        tied = f", and tie others to it: {largest}.{name},{','.join(ties)}" if ties else ""
        return (
            f"received dynamic axis {name!r} for images whose {name} differs: {found}; expected the axis of one; name "
            f"it as {largest}.{name}{tied}"
        )


def _size(shape: Shape, name: str) -> int:
    return shape.sizes[_side(shape, name)]


def _side(shape: Shape, name: str) -> int:
    return next(dim for dim, known in _axes(shape).items() if known == name)


def _axes(shape: Shape) -> Mapping[int, str]:
    """Return the names of an image's or a clip's dimensions; none for an input of another rank."""
    if len(shape.sizes) == 4:
        return IMAGE_AXES[shape.layout or "nchw"]
    return CLIP_AXES if len(shape.sizes) == 5 else {}


def looks_like_channels(shape: Shape) -> bool:
    """Tell whether the last axis of an image or a clip has a size that channels have, behind two larger ones."""
    *_, second, third, last = shape.sizes
    return last in _COLOURS and min(second, third) >= _SMALL_IMAGE


def _check_layout(shape: Shape, name: str) -> None:
    if shape.layout or not looks_like_channels(shape):
        return
    wanted, fix = "the layout with it", f"add --layout {shape.name}=nhwc (or {shape.name}=nchw)"
    if len(shape.sizes) > 4:
        wanted, fix = "it by number", f"write {shape.name}.dim2 for its height, {shape.name}.dim3 for its width"
    looks = f"received dynamic axis {name!r} for {shape.text}, whose last axis looks like channels"
    raise InputError(f"{looks}; expected {wanted}; {fix}")
