"""Photographs as inputs: read with Pillow, resized to the model's size and normalised as the model expects."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..core.tensor_spec import TensorSpec
from ..errors import InputError, MissingRequirement

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".gif", ".ppm")
FORMATS = ("JPEG", "PNG", "BMP", "WEBP", "TIFF", "GIF", "PPM")
MAX_CASES = 8


def image_paths(
    folder: Path,
    inputs: Sequence[TensorSpec],
    sizes: Mapping[str, int],
    *,
    most: int = MAX_CASES,
    option: str = "--inputs",
) -> tuple[TensorSpec, list[tuple[Path, ...]]]:
    """The input that takes the images (the first float or uint8 one of four axes) and the files of each case.

    Every case holds as many files as the traced batch; the last is filled up from the first files. At most so many
    cases are made, in the order of the names. ``option`` is what the folder was given to.
    """
    taker = next(
        (spec for spec in inputs if len(spec.shape) == 4 and (spec.dtype.startswith("float") or spec.dtype == "uint8")),
        None,
    )
    if taker is None:
        raise InputError(
            f"received images in '{folder}', but no input is a float or uint8 (n, c, h, w) tensor "
            f"({'; '.join(map(str, inputs))}); leave {option} out"
        )
    try:
        files = images_in(folder)
    except OSError as error:
        raise InputError(f"cannot list the image folder '{folder}': {error.strerror}; give a readable folder") from None
    if not files:
        raise InputError(f"received '{folder}' with no image in it; expected files ending in {', '.join(SUFFIXES)}")
    rows = taker.resolve(sizes)[0]
    groups = [
        tuple(files[(start + row) % len(files)] for row in range(rows)) for start in range(0, len(files), max(rows, 1))
    ]
    return taker, groups[:most]


def images_in(folder: Path) -> list[Path]:
    """Return the image files of a folder by their names; raises OSError if it cannot be listed."""
    return sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES and path.is_file())


def image_feeds(
    paths: Sequence[Path],
    shape: tuple[int, ...],
    preprocessing: Mapping[str, Any],
    bounds: tuple[float, float] | None = None,
    *,
    layout: str = "nchw",
) -> npt.NDArray[np.float32]:
    """Images as ``shape`` = (n, c, h, w), or (n, h, w, c) in the layout nhwc.

    They are scaled to [0, 1], less mean, over std (0.5 each if nothing is known). For an input with ``bounds`` they are
    scaled to these instead.

    Another channel count than 1 or 3, as a block inside a network has, is filled with the colour planes, each
    round shifted by a seventh of the image.
    """
    if layout == "nhwc":
        n, h, w, c = shape
        return np.ascontiguousarray(image_feeds(paths, (n, c, h, w), preprocessing, bounds).transpose(0, 2, 3, 1))
    n, c, h, w = shape
    planes = np.stack([_planes(paths[row % len(paths)], c, h, w) for row in range(n)])
    # The order of the channels is the model's; mean and std are given in that order.
    batch = planes[:, ::-1] if preprocessing.get("order") == "BGR" and c == 3 else planes
    if bounds is not None:
        low, high = bounds
        return np.ascontiguousarray(low + (high - low) * batch, dtype=np.float32)
    mean, std = (_per_channel(preprocessing.get(key), c) for key in ("mean", "std"))
    return np.ascontiguousarray((batch - mean) / std, dtype=np.float32)


def _planes(path: Path, c: int, h: int, w: int) -> npt.NDArray[np.float32]:
    try:
        from PIL import Image
    except ImportError:
        raise MissingRequirement("images are read with Pillow, which is missing; pip install pillow") from None
    try:
        # no others: PostScript under such a name would be given to another program
        with Image.open(path, formats=FORMATS) as image:
            colours = image.convert("L" if c == 1 else "RGB").resize((w, h), Image.Resampling.BICUBIC)
    except (OSError, ValueError, Image.DecompressionBombError) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"cannot read the image '{path}': {reason}; remove or replace it") from None
    pixels = np.asarray(colours, dtype=np.float32).reshape(h, w, -1) / np.float32(255)
    planes = pixels.transpose(2, 0, 1)
    if c in (1, 3):
        return planes
    shifts = [(k // 3 * h // 7, k // 3 * w // 7) for k in range(c)]
    return np.stack([np.roll(planes[k % 3], shift, axis=(0, 1)) for k, shift in enumerate(shifts)])


def _per_channel(values: Any, c: int) -> npt.NDArray[np.float32]:
    """Return ``values`` as (c, 1, 1); 0.5 if they are unknown or meant for another channel count."""
    found = np.asarray(values if values is not None else 0.5, dtype=np.float32).reshape(-1)
    if found.size not in (1, c):
        found = np.full(1, 0.5, np.float32)
    return np.broadcast_to(found.reshape(-1, 1, 1), (c, 1, 1))
