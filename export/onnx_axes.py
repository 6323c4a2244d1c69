"""The sizes of an ONNX file's inputs: what the file fixes, what may vary, and what a user has to say.

A symbolic first dimension of the first input is the batch, 1:2:8 unless something else is asked for. Every other
symbolic dimension is called by the file's own name, or by its place if it has none, and needs a range or a size.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ..core.dimension import is_name
from ..core.nearest import nearest
from ..core.tensor_spec import FLOAT_DTYPES, Axis, TensorSpec
from ..errors import InputError
from ..modules.dynamic import NONE, Given, Ranges, parse_dynamic
from ..modules.shapes import Shape, named, parse_shapes
from .onnx_file import FileTensor, OnnxFile

BATCH = "batch"
DEFAULT_BATCH = Axis(1, 2, 8)
# A dimension of an input: which input, which place.
Place = tuple[int, int]


def choose_sizes(
    file: OnnxFile, shapes: Sequence[str] = (), dynamic: str | Ranges | None = None
) -> tuple[tuple[TensorSpec, ...], dict[str, Axis]]:
    """Return the inputs with sizes and names of axes as dimensions, and the range of each axis.

    Args:
        file: The file.
        shapes: Sizes of inputs, ``NAME=2x3x64x64:float32[0,1]``; the name may be left out if there is one input.
        dynamic: Ranges of symbolic dimensions, ``batch=1:2:8,height=32:64:128:32``; ``NAME=none`` and "none" take the
            size that ``shapes`` has, 1 for a batch without one.

    Raises:
        InputError: A symbolic dimension has neither, a size is not the file's, or something is unknown.
    """
    return _Chooser(file, _shapes(file, shapes), dynamic).chosen()


def _shapes(file: OnnxFile, shapes: Sequence[str]) -> dict[str, Shape]:
    if not shapes:
        return {}
    names = [tensor.name for tensor in file.inputs]
    parsed = parse_shapes(shapes)
    for shape in parsed:
        if shape.name and shape.name not in names:
            raise InputError(
                f"received --shape for {shape.name!r}; expected one of {', '.join(names)}; "
                f"{nearest(shape.name, names, 'correct the name')}"
            )
    if len(parsed) == len(names) == 1:
        parsed = named(parsed, names)
    found = {shape.name: shape for shape in parsed}
    if "" in found or len(found) < len(parsed):
        raise InputError(
            f"received {len(parsed)} shapes; expected NAME=SIZES, each input once, of {', '.join(names)}; name each"
        )
    for tensor in file.inputs:
        if tensor.name in found:
            _require_fit(tensor, found[tensor.name])
    return found


def _require_fit(tensor: FileTensor, shape: Shape) -> None:
    """Raise InputError for a shape that is not one of the file's input."""
    dims = tensor.dims
    said = "x".join(str(dim or "?") for dim in dims)
    fits = len(dims) == len(shape.sizes) and all(
        isinstance(dim, str) or dim == size for dim, size in zip(dims, shape.sizes, strict=True)
    )
    if not fits:
        raise InputError(
            f"received --shape {shape.text}; expected sizes of {tensor.name}: {said}, which the file fixes but for its "
            "names; correct --shape"
        )
    is_default = shape.dtype == FLOAT_DTYPES[0] and shape.low is None
    if shape.dtype != tensor.dtype and not is_default:
        raise InputError(
            f"received --shape {shape.text}; expected {tensor.dtype}, the type of {tensor.name} in the file; correct it"
        )


@dataclass
class _Chooser:
    file: OnnxFile
    shapes: Mapping[str, Shape]
    dynamic: str | Ranges | None

    def __post_init__(self) -> None:
        self._names = self._named()
        self._given = parse_dynamic(self.dynamic)
        self._declined = _declined(self.dynamic)
        for name in (*self._given, *self._declined):
            self._require_known(name)

    def chosen(self) -> tuple[tuple[TensorSpec, ...], dict[str, Axis]]:
        """Return the inputs and the axes."""
        found: dict[str, Axis | int] = {}
        missing = []
        for name in dict.fromkeys(self._names.values()):
            one = self._range(name)
            if one is None:
                missing.append(name)
            else:
                found[name] = one
        if missing:
            ranges = ",".join(f"{name}=min:opt:max" for name in missing)
            raise InputError(
                f"received {self.file.path} with the symbolic dimension{'s' * (len(missing) > 1)} "
                f"{', '.join(missing)}; expected a range or a size of each; add --dynamic {ranges}, or --shape with "
                "sizes"
            )
        axes = {name: one for name, one in found.items() if isinstance(one, Axis)}
        return tuple(self._spec(index, tensor, found) for index, tensor in enumerate(self.file.inputs)), axes

    def _spec(self, index: int, tensor: FileTensor, found: Mapping[str, Axis | int]) -> TensorSpec:
        dims: list[int | str] = []
        for place, dim in enumerate(tensor.dims):
            name = self._names.get((index, place))
            size = dim if name is None else found[name]
            dims.append(str(name) if isinstance(size, Axis) else size)
        shape = self.shapes.get(tensor.name)
        bounds = (None, None) if shape is None else (shape.low, shape.high)
        layout = "nchw" if shape is None else shape.layout or "nchw"
        return TensorSpec(tensor.name, tuple(dims), tensor.dtype, *bounds, layout)

    def _range(self, name: str) -> Axis | int | None:
        """The range of a symbolic dimension, the size that it is fixed to, or None if nothing tells."""
        size = self._size(name)
        given = next((self._given[known] for known in self._called(name) if known in self._given), None)
        if isinstance(given, Axis):
            if size is not None and not given.takes(size):
                raise InputError(
                    f"received {name}={given.text} with a shape of {name} {size}; expected it as the optimum; correct "
                    "one of them"
                )
            return given if given.min < given.max else given.opt
        if NONE in self._declined or self._declined & set(self._called(name)):
            return size or (1 if name == BATCH else None)
        if name == BATCH:
            return DEFAULT_BATCH if size is None else Axis(1, size, max(DEFAULT_BATCH.max, size))
        return size

    def _size(self, name: str) -> int | None:
        """The size that --shape gives a symbolic dimension; InputError for two of them."""
        sizes = {
            self.shapes[self.file.inputs[index].name].sizes[place]
            for (index, place), known in self._names.items()
            if known == name and self.file.inputs[index].name in self.shapes
        }
        if len(sizes) > 1:
            raise InputError(
                f"received shapes with {' and '.join(map(str, sorted(sizes)))} for {name}, one dimension of the file; "
                "expected one size; correct --shape"
            )
        return next(iter(sizes), None)

    def _named(self) -> dict[Place, str]:
        """Return the name of every symbolic dimension."""
        places = [
            (index, place, dim)
            for index, tensor in enumerate(self.file.inputs)
            for place, dim in enumerate(tensor.dims)
            if isinstance(dim, str)
        ]
        params = {dim for _, _, dim in places}
        batch = next((dim for index, place, dim in places if (index, place) == (0, 0)), None)
        self._batch = "" if batch is None else batch
        found = {}
        for index, place, dim in places:
            is_batch = batch is not None and (dim == batch if batch else (index, place) == (0, 0))
            if is_batch and (BATCH not in params or batch == BATCH):
                found[index, place] = BATCH
            elif is_name(dim):
                found[index, place] = dim
            else:
                name = re.sub(r"\W", "_", self.file.inputs[index].name)
                found[index, place] = f"{name}.dim{place}" if is_name(name) else f"input{index}.dim{place}"
        return found

    def _called(self, name: str) -> tuple[str, ...]:
        """Return the names that a user may give a dimension: the batch has the file's own as well."""
        return (name, self._batch) if name == BATCH and self._batch else (name,)

    def _require_known(self, name: str) -> None:
        known = [called for one in dict.fromkeys(self._names.values()) for called in self._called(one)]
        given: Given = self._given.get(name)
        if isinstance(given, str) or (name in self._given and given is None):
            raise InputError(f"received dynamic {name} without a range; expected one; write {name}=min:opt:max")
        if name in known or name == NONE:
            return
        if not known:
            raise InputError(
                f"received dynamic axis {name!r}; expected none: the file fixes every dimension; export it again with "
                "that axis dynamic, or leave --dynamic out"
            )
        raise InputError(
            f"received dynamic axis {name!r}; expected {', '.join(dict.fromkeys(known))}: the file fixes every other "
            f"dimension; {nearest(name, known, 'correct --dynamic')}"
        )


def _declined(dynamic: str | Ranges | None) -> set[str]:
    """Return the axes that are to keep a size; NONE for all."""
    if dynamic is None:
        return set()
    if isinstance(dynamic, str):
        parts = [item.partition("=") for item in dynamic.split(",")]
        return {NONE} if dynamic == NONE else {name.strip() for name, _, value in parts if value.strip() == NONE}
    return {name for name, value in dynamic.items() if value == NONE}
