"""The true answers of a data set: a class or a mask for each image, or boxes in a COCO file."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from ...core.input_path import require_readable
from ...core.preprocessing import Placement, Preprocessing
from ...core.typed_json import parsed
from ...errors import InputError, one_line
from ..images import read_mask
from .classes import Classes
from .coco import CocoLabels, read_coco
from .detections import Detections
from .maps import UNLABELLED, ClassMaps
from .metric import Metric

FOLDERS, NONE = "folders", "none"
LARGEST_BYTES = 2 << 30
MASKS = (".png", ".bmp", ".tif", ".tiff", ".gif")


@dataclass(frozen=True)
class Labels:
    """The true answers of a data set.

    Attributes:
        words: Their source.
        of: Returns the answer for an image by its name and its place in the input; None if it has none.
        count: The number of images that have one.
        note: What people should know, if anything.
    """

    words: str
    of: Callable[[str, Placement | None], Any]
    count: int
    note: str = ""


def coco_of(path: Path | str | None) -> CocoLabels | None:
    """Return the true boxes if the path is a COCO file; None for any other labels."""
    if path is None or str(path) in (FOLDERS, NONE) or Path(path).suffix != ".json":
        return None
    document = _json(Path(path))
    return read_coco(Path(path), document) if isinstance(document, Mapping) and "annotations" in document else None


def find_labels(
    given: Path | str | None,
    metric: Metric,
    names: Sequence[str],
    how: Preprocessing | None,
    size: tuple[int, int],
) -> Labels | None:
    """Return the labels of a data set.

    Args:
        given: A file of labels, a COCO file, a folder of masks, "folders" for the names of the images' folders, or
            "none". None takes the folders if there are as many as classes.
        metric: What is scored.
        names: The images by their path in the data set.
        how: The preprocessing, by which masks are placed as the images are.
        size: (h, w) of the input.

    Raises:
        InputError: They do not fit the metric or the data set, or name none of its images.
    """
    if str(given) == NONE:
        return None
    if given is None or str(given) == FOLDERS:
        return _folders(metric, names, is_asked=given is not None)
    path = Path(given)
    require_readable(path, "a file or a folder", option="--labels", kind="either")
    if isinstance(metric, Detections):
        found = _boxes(path, metric, names)
    elif isinstance(metric, ClassMaps):
        found = _masks(path, metric, names, how, size)
    else:
        assert isinstance(metric, Classes)
        found = _listed(path, metric, names)
    if not found.count:
        raise InputError(
            f"received --labels {path}, which label none of the {len(names)} images; expected their paths in the data "
            f"set, as {names[0]}; correct the paths"
        )
    return found


def _folders(metric: Metric, names: Sequence[str], *, is_asked: bool) -> Labels | None:
    """Take the folders' names in order for the classes, as torchvision's ImageFolder does."""
    folders = sorted({PurePosixPath(name).parts[0] for name in names if len(PurePosixPath(name).parts) > 1})
    if not isinstance(metric, Classes):
        if is_asked:
            raise InputError(
                f"received --labels {FOLDERS} for {metric.name}; expected a metric of classes; leave --labels out"
            )
        return None
    if not is_asked and not folders:
        return None
    if len(folders) != metric.count:
        why = (
            f"{len(folders)} folder{'s' * (len(folders) != 1)} of images for the {metric.count} classes of "
            f"{metric.output}; expected one for each class; give --labels FILE with lines of PATH CLASS"
        )
        if is_asked:
            raise InputError(f"received --labels {FOLDERS}, {why}")
        return Labels("", lambda _name, _placement: None, 0, f"no labels: {why}")
    number = {folder: place for place, folder in enumerate(folders)}
    known = {name: number[parts[0]] for name in names if len(parts := PurePosixPath(name).parts) > 1}
    return Labels("the names of the folders, in order", lambda name, _: known.get(name), len(known))


def _listed(path: Path, metric: Classes, names: Sequence[str]) -> Labels:
    """Read a class for each image from a file: JSON of {path: class}, or lines of path and class."""
    pairs = _pairs(path, names)
    known: dict[str, int] = {}
    for where, name, label in pairs:
        if not 0 <= label < metric.count:
            raise InputError(
                f"received --labels {path}, {where}: class {label} for {name}; expected 0 to {metric.count - 1}, the "
                f"classes of {metric.output}"
            )
        if known.setdefault(name, label) != label:
            raise InputError(
                f"received --labels {path}, {where}: class {label} for {name}, which has {known[name]} before; "
                "expected one class for each image; correct it"
            )
    labelled = {name: known[name] for name in names if name in known}
    strangers = [name for name in known if name not in labelled]
    note = f"{len(strangers)} labels are of no image here, as {strangers[0]}" if strangers else ""
    return Labels(path.name, lambda name, _: labelled.get(name), len(labelled), note)


def _pairs(path: Path, images: Collection[str]) -> list[tuple[str, str, int]]:
    """Return (place in the file, path of the image, class) for each label of a file; a heading names no image."""
    expected = "expected lines of PATH CLASS, separated by a comma, a tab or spaces, or JSON as {PATH: CLASS}"
    if path.suffix == ".json":
        document = _json(path)
        if not isinstance(document, Mapping) or not all(type(label) is int for label in document.values()):
            raise InputError(f"received --labels {path}, which is no JSON of paths and whole numbers; {expected}")
        return [("an entry", PurePosixPath(name).as_posix(), label) for name, label in document.items()]
    found = []
    for number, line in enumerate(_text(path).splitlines(), start=1):
        text = line.strip()
        if not text or text.startswith("#"):
            continue
        name, label = _split(text)
        image = PurePosixPath(name).as_posix()
        if not label.isdecimal():
            if number == 1 and not {image, text} & {*images}:
                continue
            raise InputError(f"received --labels {path}, line {number}: {text[:80]!r}; {expected}")
        found.append((f"line {number}", image, int(label)))
    return found


def _split(text: str) -> tuple[str, str]:
    for separator in (",", "\t", None):
        parts = text.rsplit(separator, 1)
        if len(parts) == 2:
            return parts[0].strip().strip('"'), parts[1].strip()
    return text, ""


def _boxes(path: Path, metric: Detections, names: Sequence[str]) -> Labels:
    if metric.labels is None:
        raise InputError(f"received --labels {path} for {metric.name}; expected a COCO file of instances (.json)")
    metric.labels.category_of(metric.head.count)
    images = metric.labels.images
    known = {name: images.get(name, images.get(PurePosixPath(name).name)) for name in names}
    count = sum(found is not None for found in known.values())
    return Labels(f"{path.name}, by pycocotools", lambda name, _: known.get(name), count)


def _masks(
    path: Path, metric: ClassMaps, names: Sequence[str], how: Preprocessing | None, size: tuple[int, int]
) -> Labels:
    if not path.is_dir():
        raise InputError(f"received --labels {path} for {metric.name}; expected a folder of masks, PNGs of classes")
    if how is None:
        raise InputError("received --labels for tensors; expected images; put the labels into the file of the tensors")
    masks = sorted(file for file in path.rglob("*") if file.suffix in MASKS)
    there = {file.relative_to(path).with_suffix("").as_posix(): file for file in masks}
    known = {name: there.get(PurePosixPath(name).with_suffix("").as_posix()) for name in names}
    count = sum(found is not None for found in known.values())

    def mask(name: str, placement: Placement | None) -> Any:
        file = known.get(name)
        if file is None or placement is None:
            return None
        found = read_mask(file, placement, size, UNLABELLED)
        wrong = found[(found >= max(metric.count, 2)) & (found != UNLABELLED)]
        if wrong.size:
            raise InputError(
                f"received the mask '{file}' with the class {int(wrong[0])}; expected below {max(metric.count, 2)}, or "
                f"{UNLABELLED} for none"
            )
        return found

    return Labels(f"the masks of {path.name}", mask, count)


def array_labels(labels: Any, metric: Metric, source: Path) -> Labels:
    """Return the labels that lie in a file of tensors: a class, or a mask, for each sample.

    Raises InputError if they do not fit the metric.
    """
    axes = 3 if isinstance(metric, ClassMaps) else 1
    if isinstance(metric, Detections) or labels.ndim != axes or labels.dtype.kind not in "iu":
        raise InputError(
            f"received labels of shape {'x'.join(map(str, labels.shape))}, {labels.dtype}, in '{source}' for "
            f"{metric.name}; expected whole numbers, {'(samples, h, w)' if axes == 3 else '(samples,)'}; leave them out"
        )
    count = metric.count if isinstance(metric, Classes | ClassMaps) else 0
    wrong = labels[(labels < 0) | ((labels >= max(count, 2)) & ~((axes == 3) & (labels == UNLABELLED)))]
    if wrong.size:
        raise InputError(f"received the label {int(wrong[0])} in '{source}'; expected 0 to {max(count, 2) - 1}")
    return Labels(f"labels of {source.name}", lambda name, _: np.asarray(labels[int(name)]), len(labels))


def _json(path: Path) -> Any:
    try:
        return parsed(_text(path))
    except ValueError as error:
        reason = one_line(error)
        raise InputError(f"received --labels {path}, which is no JSON ({reason}); write the file again") from None


def _text(path: Path) -> str:
    require_readable(path, "a file of labels", option="--labels")
    if path.stat().st_size > LARGEST_BYTES:
        raise InputError(f"received --labels {path} of {path.stat().st_size} bytes; expected at most {LARGEST_BYTES}")
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise InputError(f"received --labels {path}, which is no text in UTF-8; write the file again") from None
