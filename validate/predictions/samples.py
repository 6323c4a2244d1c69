"""The samples of a data set in batches: images of a folder, or tensors of a file."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from ...core.input_path import require_readable
from ...core.preprocessing import Placement, Preprocessing
from ...core.tensor_spec import Axis, TensorSpec, optima
from ...errors import InputError, StorageError
from ..cases import Feeds
from ..images import SUFFIXES, normalised, read_image, require_pillow
from ..tensor_file import TENSORS, TensorFile

LABELS = "labels"  # of a file of tensors: the name of the array with the true answers


@dataclass(frozen=True)
class Batch:
    """Samples that go in together; rows behind them repeat the first ones, to fill the batch.

    Attributes:
        names: The samples in the first rows.
        feeds: The inputs.
        places: The place of each photograph in the input; None of a tensor.
        refused: The samples that cannot be used, and why.
    """

    names: Sequence[str]
    feeds: Feeds
    places: Sequence[Placement | None]
    refused: Sequence[tuple[str, str]] = ()


class Samples(Protocol):
    """A data set.

    Attributes:
        names: Every sample, in order.
        words: What it is.
        notes: What people should know.
        size: (h, w) of the input; (0, 0) of one that is no image.
        sizes: The size of each axis.
    """

    @property
    def names(self) -> Sequence[str]: ...
    @property
    def words(self) -> str: ...
    @property
    def notes(self) -> Sequence[str]: ...
    @property
    def size(self) -> tuple[int, int]: ...
    @property
    def sizes(self) -> Mapping[str, int]: ...
    def batches(self) -> Iterator[Batch]: ...


def find_samples(
    source: Path, inputs: Sequence[TensorSpec], axes: Mapping[str, Axis], how: Preprocessing | None
) -> Images | Tensors:
    """Return the data set at a path: a folder of images, in folders of its own or not, or a file of tensors.

    Raises InputError if there is none, if it does not fit the inputs, or for images if ``how`` is not known.
    """
    require_readable(source, "a folder of images, or a file of tensors", option="--dataset", kind="either")
    if source.is_dir():
        return _images(source, inputs, axes, how)
    if source.suffix not in TENSORS:
        raise InputError(
            f"received --dataset {source}; expected a folder of images, or a file ending in {' or '.join(TENSORS)} "
            "with an array for each input"
        )
    return Tensors(source, TensorFile(source, inputs, axes, option="--dataset", others=(LABELS,)), inputs, axes)


@dataclass(frozen=True)
class Tensors:
    """The samples of a file, named by their numbers."""

    source: Path
    file: TensorFile
    inputs: Sequence[TensorSpec]
    axes: Mapping[str, Axis]
    notes: Sequence[str] = ()

    @property
    def names(self) -> Sequence[str]:
        return [str(number) for number in range(self.file.count)]

    @property
    def words(self) -> str:
        return f"{self.file.count} samples of {self.source.name}"

    @property
    def sizes(self) -> Mapping[str, int]:
        return optima(self.axes)

    @property
    def size(self) -> tuple[int, int]:
        spec = next((spec for spec in self.inputs if len(spec.shape) == 4), None)
        return (0, 0) if spec is None else _side(spec, self.sizes)

    @property
    def labels(self) -> Any:
        """The array of labels; None if the file has none."""
        return self.file.others.get(LABELS)

    def batches(self) -> Iterator[Batch]:
        """Yield the samples in their order."""
        for start in self.file.starts:
            names = [str(number) for number in range(start, min(start + self.file.rows, self.file.count))]
            yield Batch(names, self.file.batch(start), [None] * len(names))


@dataclass(frozen=True)
class Images:
    """The images of a folder and of the folders in it, named by their paths there.

    Attributes:
        folder: The folder.
        names: The images.
        spec: The input that takes them.
        sizes: The size of each axis.
        how: The preprocessing.
        notes: What people should know.
    """

    folder: Path
    names: Sequence[str]
    spec: TensorSpec
    sizes: Mapping[str, int]
    how: Preprocessing
    notes: Sequence[str] = ()

    @property
    def words(self) -> str:
        return f"{len(self.names)} images of {self.folder.name or self.folder}"

    @property
    def size(self) -> tuple[int, int]:
        return _side(self.spec, self.sizes)

    def batches(self) -> Iterator[Batch]:
        """Yield the images in their order; one that cannot be read is refused, and the next takes its row."""
        n, *others = self.spec.resolve(self.sizes)
        shape = (others[-1], *others[:-1]) if self.spec.layout == "nhwc" else tuple(others)
        names: list[str] = []
        read: list[tuple[Any, Placement]] = []
        refused: list[tuple[str, str]] = []
        for name in self.names:
            try:
                read.append(read_image(self.folder / name, (shape[0], shape[1], shape[2]), self.how))
                names.append(name)
            except InputError as error:
                refused.append((name, str(error)))
            if len(names) == n:
                yield self._batch(names, read, refused)
                names, read, refused = [], [], []
        if names or refused:
            yield self._batch(names, read, refused, rows=n)

    def _batch(
        self,
        names: list[str],
        read: list[tuple[Any, Placement]],
        refused: list[tuple[str, str]],
        *,
        rows: int | None = None,
    ) -> Batch:
        if not names:
            return Batch((), {}, (), refused)
        pixels = np.stack([read[row % len(read)][0] for row in range(rows or len(read))])
        planes = normalised(pixels, self.how, self.spec.bounds)
        if self.spec.layout == "nhwc":
            planes = np.ascontiguousarray(planes.transpose(0, 2, 3, 1))
        if not self.spec.dtype.startswith("float"):
            planes = planes.round()
        return Batch(names, {self.spec.name: planes.astype(self.spec.dtype)}, [place for _, place in read], refused)


def _side(spec: TensorSpec, sizes: Mapping[str, int]) -> tuple[int, int]:
    shape = spec.resolve(sizes)
    return (shape[1], shape[2]) if spec.layout == "nhwc" else (shape[2], shape[3])


def _images(folder: Path, inputs: Sequence[TensorSpec], axes: Mapping[str, Axis], how: Preprocessing | None) -> Images:
    spec = _taker(folder, inputs)
    if how is None:
        raise InputError(
            f"received --dataset {folder} for a model whose author does not say how a photograph becomes {spec.name}; "
            "expected its preprocessing: give --preprocessing FILE, or --dataset FILE.npz with preprocessed inputs"
        )
    require_pillow()
    names, others = walk(folder)
    if not names:
        raise InputError(
            f"received --dataset {folder} with no image in it; expected files ending in {', '.join(SUFFIXES)}"
        )
    sizes = _sizes(spec, axes, how)
    how.check_channels(spec.resolve(sizes)[3 if spec.layout == "nhwc" else 1])
    more = f", and {len(others) - 1} more" if len(others) > 1 else ""
    notes = [f"no image by its name: {others[0]}{more}"] if others else []
    return Images(folder, names, spec, sizes, how, notes)


def _taker(folder: Path, inputs: Sequence[TensorSpec]) -> TensorSpec:
    """Return the only input, which takes images."""
    first = inputs[0]
    axis = 3 if first.layout == "nhwc" else 1
    if len(inputs) == 1 and len(first.shape) == 4 and first.shape[axis] in (1, 3):
        return first
    raise InputError(
        f"received --dataset {folder}, images, for the input{'s' * (len(inputs) > 1)} "
        f"{'; '.join(map(str, inputs))}; expected one of 1 or 3 channels; give a .npz with an array for each"
    )


def _sizes(spec: TensorSpec, axes: Mapping[str, Axis], how: Preprocessing) -> dict[str, int]:
    """Return the size of each axis: an image's own if the preprocessing has it and the axes allow it, else the best."""
    sizes = optima(axes)
    if len(how.size) == 3:
        channels_last = spec.layout == "nhwc"
        sides = dict(zip((1, 2) if channels_last else (2, 3), how.size[1:], strict=True))
        wanted = {dim: side for place, side in sides.items() if isinstance(dim := spec.shape[place], str)}
        if all(name in axes and side in axes[name].sizes for name, side in wanted.items()):
            sizes |= wanted
    return sizes


def walk(folder: Path) -> tuple[list[str], list[str]]:
    """Return the images of a folder by their relative paths, in order, and the files that are none by their names.

    Links to folders are followed, each folder once.
    """
    names: list[str] = []
    others: list[str] = []
    entered: set[Path] = set()

    def refuse(error: OSError) -> None:
        raise StorageError(
            f"cannot list the folder '{error.filename}' of --dataset: {error.strerror}; make it readable"
        ) from None

    for root, folders, files in os.walk(folder, onerror=refuse, followlinks=True):
        entered.add(Path(root).resolve())
        folders[:] = sorted(name for name in folders if Path(root, name).resolve() not in entered)
        for file in files:
            path = Path(root, file)
            is_image = path.suffix.lower() in SUFFIXES and path.is_file()
            (names if is_image else others).append(path.relative_to(folder).as_posix())
    return sorted(names), sorted(others)
