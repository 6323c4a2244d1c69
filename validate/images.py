"""Photographs as inputs: read with Pillow and preprocessed as the model's author did.

A camera writes its pixels as the sensor has them, and how it was held into EXIF: images are turned first.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ..core import bounds
from ..core.input_path import require_readable
from ..core.preprocessing import Placement, Preprocessing
from ..core.tensor_spec import FLOAT_DTYPES, TensorSpec
from ..errors import InputError, MissingRequirement, one_line

if TYPE_CHECKING:
    from PIL.Image import Image

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".gif", ".ppm")
FORMATS = ("JPEG", "PNG", "BMP", "WEBP", "TIFF", "GIF", "PPM")
# Pillow's modes of 16 and 32 bits begin so; it cuts off what is above 255 where it converts them.
DEEP = ("I", "F")
MAX_CASES = 8
# for a model whose author says nothing: -1 to 1
UNKNOWN = Preprocessing(resize="stretch", interpolation="bicubic", mean=(0.5,), std=(0.5,))


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
    taker = image_input(inputs)
    if taker is None:
        raise InputError(
            f"received images in '{folder}', but no input is a float or uint8 (n, c, h, w) tensor "
            f"({'; '.join(map(str, inputs))}); leave {option} out"
        )
    files = images_in(require_readable(folder, "a folder of photographs", option=option, kind="folder"))
    if not files:
        raise InputError(
            f"received {option} '{folder}' with no image in it; expected files ending in {', '.join(SUFFIXES)}"
        )
    rows = taker.resolve(sizes)[0]
    groups = [
        tuple(files[(start + row) % len(files)] for row in range(rows)) for start in range(0, len(files), max(rows, 1))
    ]
    return taker, groups[:most]


def image_input(inputs: Sequence[TensorSpec]) -> TensorSpec | None:
    """Return the input that takes images: the first float or uint8 one of four axes."""
    return next((spec for spec in inputs if len(spec.shape) == 4 and spec.dtype in (*FLOAT_DTYPES, "uint8")), None)


def assumed(taker: TensorSpec | None, preprocessing: Preprocessing | None) -> str:
    """Return in words how photographs are read for a model whose author says nothing; "" if it is known."""
    if preprocessing is not None or taker is None or taker.bounds is not None:
        return ""
    return ", stretched, pixels as -1 to 1 since nothing says otherwise (--preprocessing)"


def images_in(folder: Path) -> list[Path]:
    """Return the image files of a folder by their names; raises OSError if it cannot be listed."""
    return sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES and path.is_file())


def image_feeds(
    paths: Sequence[Path],
    shape: tuple[int, ...],
    preprocessing: Preprocessing | None,
    bounds: tuple[float, float] | None = None,
    *,
    layout: str = "nchw",
) -> npt.NDArray[np.float32]:
    """Images as ``shape`` = (n, c, h, w), or (n, h, w, c) in the layout nhwc.

    They are preprocessed as the model's author says, or as UNKNOWN if he does not. For an input with ``bounds`` the
    pixels are scaled to these instead of being normalised. The last rows are filled up from the first files.

    Another channel count than 1 or 3, as a block inside a network has, is filled with the colour planes, each
    round shifted by a seventh of the image.

    Raises InputError for an image that cannot be read or does not fit, and MissingRequirement without Pillow.
    """
    if layout == "nhwc":
        n, h, w, c = shape
        return np.ascontiguousarray(image_feeds(paths, (n, c, h, w), preprocessing, bounds).transpose(0, 2, 3, 1))
    n, *chw = shape
    how = preprocessing or UNKNOWN
    images = [read_image(path, (chw[0], chw[1], chw[2]), how)[0] for path in paths[:n]]
    pixels = np.stack([images[row % len(images)] for row in range(n)])
    return normalised(pixels, how, bounds)


def normalised(
    pixels: npt.NDArray[np.float32], how: Preprocessing, bounds: tuple[float, float] | None
) -> npt.NDArray[np.float32]:
    """Return pixels (n, c, h, w), 0 to 255, as a model takes them: within ``bounds`` if it has them."""
    if bounds is not None:
        low, high = bounds
        return np.ascontiguousarray(low + (high - low) * (pixels / np.float32(255)), dtype=np.float32)
    mean, std = (
        np.asarray(values or default, np.float32).reshape(-1, 1, 1)
        for values, default in ((how.mean, (0.0,)), (how.std, (1.0,)))
    )
    return np.ascontiguousarray((pixels * np.float32(how.scale) - mean) / std, dtype=np.float32)


def read_image(
    path: Path, shape: tuple[int, int, int], how: Preprocessing
) -> tuple[npt.NDArray[np.float32], Placement]:
    """Return an image's pixels, 0 to 255, placed in (c, h, w), and their place. Raises what ``image_feeds`` raises."""
    c, h, w = shape
    how.check_channels(c)
    with _opened(path, "image") as image:
        if image.mode[0] in DEEP:
            raise ValueError(f"it has more than 8 bits a channel ({image.mode}), and no file tells which is white")
        colours = image.convert("L" if c == 1 else "RGB")
    try:
        place = how.place((colours.height, colours.width), (h, w))
    except InputError as error:
        raise InputError(f"cannot use the image '{path}': {error}") from None
    return _placed(_planes(_resized(colours, place, how), c, how), place, (c, h, w), how), place


@contextmanager
def _opened(path: Path, kind: str) -> Iterator[Image]:
    """Open an image, turned as its EXIF orientation says.

    Raises InputError, with its path, for one that cannot be read, now or when its pixels are asked for.
    """
    require_pillow()
    from PIL import Image

    try:
        # no others: PostScript under such a name would be given to another program
        with Image.open(path, formats=FORMATS) as image:
            _turn(image)
            yield image
    except Exception as error:  # its decoders raise whatever they like
        reason = one_line(error, None) or type(error).__name__
        raise InputError(f"cannot read the {kind} '{path}': {reason}; remove or replace it") from None


def _turn(image: Image) -> None:
    """Turn the pixels of an image to what viewers and annotators see; one whose EXIF is damaged stays as it is."""
    from PIL import ImageOps

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=UserWarning, module="PIL")  # about the damage: pixels are whole
        try:
            image.getexif()
        except Exception:  # of any kind
            return
        ImageOps.exif_transpose(image, in_place=True)


def require_pillow() -> None:
    """Raise MissingRequirement if Pillow is not installed or is too old."""
    try:
        import PIL.Image  # noqa: F401
    except ImportError:
        raise MissingRequirement("images are read with Pillow, which is missing; pip install pillow") from None
    bounds.require_within("pillow")


def _resized(image: Image, place: Placement, how: Preprocessing) -> Image:
    """Return the image in the size of its place."""
    from PIL import Image as images

    size, resampling = (place.width, place.height), images.Resampling[how.interpolation.upper()]
    if image.size == size:
        return image
    if how.antialias or how.interpolation == "nearest":
        return image.resize(size, resampling)
    rows, columns = place.scale
    matrix = (1 / columns, 0, 0, 0, 1 / rows, 0)
    return image.transform(size, images.Transform.AFFINE, matrix, resampling)


def _planes(image: Image, c: int, how: Preprocessing) -> npt.NDArray[np.float32]:
    """Return the pixels as (c, h, w), 0 to 255, the channels in the model's order."""
    pixels = np.asarray(image, dtype=np.float32)
    planes = pixels.reshape(image.height, image.width, -1).transpose(2, 0, 1)
    if c == 3 and how.order == "BGR":
        return planes[::-1]
    if c in (1, 3):
        return planes
    shifts = [(k // 3 * image.height // 7, k // 3 * image.width // 7) for k in range(c)]
    return np.stack([np.roll(planes[k % 3], shift, axis=(0, 1)) for k, shift in enumerate(shifts)])


def _placed(
    planes: npt.NDArray[np.float32], place: Placement, shape: tuple[int, int, int], how: Preprocessing
) -> npt.NDArray[np.float32]:
    """Return the planes cropped, or within their border."""
    _, h, w = shape
    top, left = place.top, place.left
    inside = planes[:, max(0, -top) : h - top, max(0, -left) : w - left]
    if inside.shape == shape:
        return inside
    canvas = np.empty(shape, np.float32)
    canvas[:] = np.asarray(how.pad, np.float32).reshape(-1, 1, 1)
    top, left = max(0, top), max(0, left)
    canvas[:, top : top + inside.shape[1], left : left + inside.shape[2]] = inside
    return canvas


def read_mask(path: Path, place: Placement, size: tuple[int, int], border: int) -> npt.NDArray[np.int64]:
    """Return the classes in a mask, placed in (h, w) as its photograph is; ``border`` is around it.

    Raises InputError for a mask that cannot be read, has colours, or is of another size than the photograph.
    """
    with _opened(path, "mask") as image:
        image.load()
        classes = np.asarray(image)
    if classes.ndim != 2 or classes.shape != place.original:
        raise InputError(
            f"received the mask '{path}' of shape {'x'.join(map(str, classes.shape))}; expected one class for each "
            f"pixel of its image, {'x'.join(map(str, place.original))}"
        )
    resized = resize_nearest(classes, (place.height, place.width))
    placed = _placed(resized[None], place, (1, *size), Preprocessing(pad=(float(border),)))[0]
    return np.asarray(placed, np.int64)


def resize_nearest(mask: npt.NDArray[Any], size: tuple[int, int]) -> npt.NDArray[Any]:
    """Return a mask at another size, each pixel that of the nearest place."""
    rows, columns = (
        np.minimum(((np.arange(new) + 0.5) * old / new).astype(int), old - 1)
        for new, old in zip(size, mask.shape, strict=True)
    )
    return mask[np.ix_(rows, columns)]
