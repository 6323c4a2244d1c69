"""The inputs on which the ranges of 8-bit integers are found: photographs, recorded tensors, or ordinary cases."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from ..core.input_path import require_readable
from .cases import Case, Feeds, image_cases
from .images import assumed, image_input
from .tensor_file import TensorFile

if TYPE_CHECKING:
    from ..core.preprocessing import Preprocessing
    from ..core.tensor_spec import Axis, TensorSpec

# Batches of photographs or tensors: more change a range little, and each is a run of the whole network.
MOST_BATCHES = 256
ORDINARY = ("normal", "random_int", "image")


class Fed(Protocol):
    """The description of the inputs: their types, the ranges of their axes, and how photographs become inputs."""

    @property
    def inputs(self) -> tuple[TensorSpec, ...]: ...
    @property
    def axes(self) -> Mapping[str, Axis]: ...
    @property
    def preprocessing(self) -> Preprocessing | None: ...


@dataclass(frozen=True)
class CalibrationInputs:
    """Each call of ``make`` gives all of the inputs again; ``words`` describe them."""

    make: Callable[[], Iterable[Feeds]]
    words: str


def calibration_inputs(source: Path | None, target: Fed, cases: Sequence[Case], *, seed: int) -> CalibrationInputs:
    """Read a folder of photographs or a file of tensors; without ``source`` take the cases with ordinary values.

    Photographs and tensors go in at the optimum of every dynamic axis. Raises InputError for a source that is not
    there, or that does not fit the target's inputs, and StorageError for one that may not be read.
    """
    if source is None:
        chosen = [case for case in cases if case.kind in ORDINARY]
        photographs = sum(case.kind == "image" for case in chosen)
        kinds = [f"{len(chosen) - photographs} random batches"]
        kinds += [f"{photographs} of photographs"] if photographs else []
        return CalibrationInputs(lambda: (case.feeds for case in chosen), f"{' and '.join(kinds)} (--calibrate DIR)")
    require_readable(source, "a folder of photographs, or a file of tensors", option="--calibrate", kind="either")
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
        how = assumed(image_input(target.inputs), target.preprocessing)
        return CalibrationInputs(lambda: (case.feeds for case in found), f"{len(found)} batches of photographs{how}")
    return _tensors(source, target)


def _tensors(source: Path, target: Fed) -> CalibrationInputs:
    """A file with an array for each input, its first axis the samples."""
    file = TensorFile(source, target.inputs, target.axes, option="--calibrate", kind="calibration tensors")
    return CalibrationInputs(
        lambda: (file.batch(start) for start in file.starts[:MOST_BATCHES]),
        f"{len(file.starts[:MOST_BATCHES])} batches of {source.name}",
    )
