"""A file of inputs: an array for each of a graph's inputs, the first axis counting the samples."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..core.sentences import first_names
from ..core.tensor_spec import optima
from ..errors import InputError, typed_line
from .arrays import Array
from .cases import Feeds

if TYPE_CHECKING:
    from ..core.tensor_spec import Axis, TensorSpec

TENSORS = (".npz", ".safetensors")


class TensorFile:
    """The samples of a file, in batches at the optimum of every dynamic axis.

    Args:
        source: A .npz or .safetensors file.
        inputs: The graph's inputs, each of which needs an array by its name.
        axes: Their ranges.
        option: What the file was given to, for messages.
        kind: The arrays in words.
        others: Names of arrays that may be there beside the inputs', one entry for each sample.

    Raises:
        InputError: The file cannot be read, or does not fit the inputs.
    """

    def __init__(
        self,
        source: Path,
        inputs: Sequence[TensorSpec],
        axes: Mapping[str, Axis],
        *,
        option: str,
        kind: str = "tensors",
        others: Collection[str] = (),
    ) -> None:
        arrays = _read(source, option, kind)
        sizes = optima(axes)
        self.shapes = {spec.name: spec.resolve(sizes) for spec in inputs}
        for spec in inputs:
            _check(source, spec, arrays, self.shapes[spec.name])
        self.others = {name: arrays[name] for name in others if name in arrays}
        self._arrays = {name: arrays[name] for name in self.shapes}
        counts = {name: len(np.atleast_1d(array)) for name, array in {**self._arrays, **self.others}.items()}
        if len(set(counts.values())) > 1:
            listed = ", ".join(f"{name} {count}" for name, count in counts.items())
            raise InputError(f"received samples in '{source}': {listed}; expected as many for every input")
        self.count = next(iter(counts.values()))
        self.rows = max(1, *(shape[0] for shape in self.shapes.values() if shape))
        self.starts = range(0, self.count, self.rows)

    def batch(self, start: int) -> Feeds:
        """Return the batch that begins with this sample; the last one is filled up with the first samples."""
        return {name: _batch(self._arrays[name], start, shape[0]) for name, shape in self.shapes.items()}


def _batch(array: Array, start: int, rows: int) -> Array:
    return np.ascontiguousarray(array[(start + np.arange(rows)) % len(array)])


def _read(source: Path, option: str, kind: str) -> Mapping[str, Array]:
    try:
        if source.suffix == ".npz":
            with np.load(source, allow_pickle=False) as file:
                read = {name: file[name] for name in file.files}
                return {name: value for name, value in read.items() if isinstance(value, np.ndarray)}  # no other files
        if source.suffix == ".safetensors":
            from safetensors.numpy import load_file

            found: dict[str, Any] = load_file(str(source))
            return found
    except Exception as error:  # safetensors, zipfile and numpy each have their own
        reason = typed_line(error)
        raise InputError(f"cannot read the {kind} in '{source}' ({reason}); write the file again") from None
    raise InputError(
        f"received {option} '{source}'; expected a folder of photographs, or a file ending in "
        f"{' or '.join(TENSORS)} with an array for each input; give one"
    )


def _check(source: Path, spec: TensorSpec, arrays: Mapping[str, Array], shape: tuple[int, ...]) -> None:
    wanted = f"samples x {' x '.join(map(str, shape[1:]))}, {spec.dtype}"
    if spec.name not in arrays:
        there = first_names(sorted(arrays)) or "none"
        raise InputError(f"received arrays {there} in '{source}'; expected {spec.name} ({wanted}) among them; add it")
    found = arrays[spec.name]
    if not shape or found.ndim != len(shape) or found.shape[1:] != shape[1:] or not len(found):
        received = "x".join(map(str, found.shape)) or "()"
        raise InputError(
            f"received {spec.name} of shape {received} in '{source}'; expected {wanted}, the optimum of every "
            "dynamic axis"
        )
    if str(found.dtype) != spec.dtype:
        raise InputError(f"received {spec.name} as {found.dtype} in '{source}'; expected {wanted}")
    if found.dtype.kind == "f" and not np.isfinite(found).all():
        raise InputError(f"received {spec.name} with NaN or Inf in '{source}'; expected finite numbers; leave them out")
