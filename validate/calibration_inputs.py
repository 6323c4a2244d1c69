"""The inputs on which the ranges of 8-bit integers are found: photographs, recorded tensors, or ordinary cases."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from ..errors import InputError
from .cases import Array, Case, Feeds, image_cases

if TYPE_CHECKING:
    from ..core.preprocessing import Preprocessing
    from ..core.tensor_spec import Axis, TensorSpec

# Batches of photographs or tensors: more change a range little, and each is a run of the whole network.
MOST_BATCHES = 256
ORDINARY = ("normal", "random_int", "image")
TENSORS = (".npz", ".safetensors")


class Fed(Protocol):
    """The description of what is fed: the inputs, the ranges of their axes, and how photographs become inputs."""

    @property
    def inputs(self) -> tuple[TensorSpec, ...]: ...
    @property
    def axes(self) -> Mapping[str, Axis]: ...
    @property
    def preprocessing(self) -> Preprocessing | None: ...


@dataclass(frozen=True)
class CalibrationInputs:
    """``make`` gives all of them anew at every call; ``words`` describe them."""

    make: Callable[[], Iterable[Feeds]]
    words: str


def calibration_inputs(source: Path | None, target: Fed, cases: Sequence[Case], *, seed: int) -> CalibrationInputs:
    """Read a folder of photographs or a file of tensors; without ``source`` take the cases with ordinary values.

    Photographs and tensors go in at the optimum of every dynamic axis. Raises InputError for a source that cannot be
    read, or that does not fit the target's inputs.
    """
    if source is None:
        chosen = [case for case in cases if case.kind in ORDINARY]
        photographs = sum(case.kind == "image" for case in chosen)
        kinds = [f"{len(chosen) - photographs} random batches"]
        kinds += [f"{photographs} of photographs"] if photographs else []
        return CalibrationInputs(lambda: (case.feeds for case in chosen), f"{' and '.join(kinds)} (--calibrate DIR)")
    if source.is_dir():
        found = image_cases(
            target.inputs,
            target.axes,
            source,
            seed=seed,
            preprocessing=target.preprocessing,
            most=MOST_BATCHES,
            option="--calibrate",
        )
        return CalibrationInputs(lambda: (case.feeds for case in found), f"{len(found)} batches of photographs")
    return _tensors(source, target)


def _tensors(source: Path, target: Fed) -> CalibrationInputs:
    """A file with an array for each input, its first axis the samples."""
    arrays = _read(source)
    sizes = {name: axis.opt for name, axis in target.axes.items()}
    shapes = {spec.name: spec.resolve(sizes) for spec in target.inputs}
    for spec in target.inputs:
        _check(source, spec, arrays, shapes[spec.name])
    counts = {name: len(arrays[name]) for name in shapes}
    if len(set(counts.values())) > 1:
        listed = ", ".join(f"{name} {count}" for name, count in counts.items())
        raise InputError(f"received samples in '{source}': {listed}; expected as many for every input")
    samples = next(iter(counts.values()))
    rows = max(1, *(shape[0] for shape in shapes.values() if shape))
    starts = range(0, samples, rows)[:MOST_BATCHES]

    def make() -> Iterator[Feeds]:
        for start in starts:
            yield {name: _batch(arrays[name], start, shape[0]) for name, shape in shapes.items()}

    return CalibrationInputs(make, f"{len(starts)} batches of {source.name}")


def _batch(array: Array, start: int, rows: int) -> Array:
    """Yield so many samples; the last batch is filled up with the first ones."""
    return np.ascontiguousarray(array[(start + np.arange(rows)) % len(array)])


def _read(source: Path) -> Mapping[str, Array]:
    try:
        if source.suffix == ".npz":
            with np.load(source, allow_pickle=False) as file:
                return {name: file[name] for name in file.files}
        if source.suffix == ".safetensors":
            from safetensors.numpy import load_file

            found: dict[str, Any] = load_file(str(source))
            return found
    except Exception as error:  # safetensors, zipfile and numpy each have their own
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        raise InputError(
            f"cannot read the calibration tensors in '{source}' ({reason}); write the file again"
        ) from None
    raise InputError(
        f"received --calibrate '{source}'; expected a folder of photographs, or a file ending in "
        f"{' or '.join(TENSORS)} with an array for each input"
    )


def _check(source: Path, spec: TensorSpec, arrays: Mapping[str, Array], shape: tuple[int, ...]) -> None:
    wanted = f"samples x {' x '.join(map(str, shape[1:]))}, {spec.dtype}"
    if spec.name not in arrays:
        there = ", ".join(sorted(arrays)) or "none"
        raise InputError(f"received arrays {there} in '{source}'; expected {spec.name} ({wanted}) among them")
    found = arrays[spec.name]
    if not shape or found.ndim != len(shape) or found.shape[1:] != shape[1:] or not len(found):
        raise InputError(
            f"received {spec.name} of shape {'x'.join(map(str, found.shape))} in '{source}'; expected {wanted}, the "
            "optimum of every dynamic axis"
        )
    if str(found.dtype) != spec.dtype:
        raise InputError(f"received {spec.name} as {found.dtype} in '{source}'; expected {wanted}")
    if found.dtype.kind == "f" and not np.isfinite(found).all():
        raise InputError(f"received {spec.name} with NaN or Inf in '{source}'; expected finite numbers; leave them out")
