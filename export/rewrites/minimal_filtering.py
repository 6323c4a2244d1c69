"""A convolution with fewer multiplications: neighbours of the output share products of sums of pixels and sums of taps.

Two neighbours of the output, even and odd, are each a sum of the even and of the odd taps of the kernel on every second
pixel: four convolutions of half the length. With F(2, 2) of toom_cook.py, its taps being those halves, three do:

    even = (x0 - x1) * k0 + x1 * (k0 + k1)
    odd  = x1 * (k0 + k1) + (x2 - x1) * k1

In both directions nine convolutions take the place of sixteen (Mou and Duhamel, Short-Length FIR Filters, IEEE T-SP 39,
1991): of a 7x7 kernel 121 multiplications for four pixels in place of 196. If no tap is left to share, each product
is a 1x1 convolution: 16 for four pixels of a 3x3 kernel in place of 36. The price is the sums before and after,
and a pass that puts the pixels back. Does not apply to strides or dilation, to fewer than 8 channels in or out of a
group, to 1x1, or where the weights are computed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from .rewrite import Writer, constant, moves_by_one, sizes
from .toom_cook import minimal_filter

FEWEST = 8  # channels in and out of a group; with fewer, the sums cost what the products save
STEP = 2  # neighbours of the output that are computed together, and so the step from pixel to pixel
LONGEST_WHOLE = 4  # taps that are split to single ones at once; more, and rounding would show
Grid = list[list[ir.Value]]


@dataclass(frozen=True)
class _Product:
    """One of the convolutions along an axis, of a sum of pixels with a kernel.

    Attributes:
        pixels: The factor of each pixel in the sum, from the first on.
        kernel: The kernel.
        outputs: The factor of the product in each of the neighbours of the output.
        with_bias: The bias is added to this product.
        more: The zeros after the last pixel, so that there are as many sums as the outputs need.
    """

    pixels: tuple[float, ...]
    kernel: np.ndarray
    outputs: tuple[float, ...]
    with_bias: bool
    more: int


def _products(kernel: np.ndarray, axis: int, *, whole: bool) -> Iterator[_Product]:
    """Yield the products along an axis, of single taps if ``whole``, else of every second tap."""
    length = kernel.shape[axis]
    every = length if whole else STEP
    parts = [np.take(kernel, range(first, length, every), axis) for first in range(min(length, every))]
    found = minimal_filter(STEP, len(parts))
    # the product at the point 1 counts once for every output; of a single tap there is one for each
    biased = {place for place, outputs in enumerate(found.from_products) if length == 1 or (outputs == 1).all()}
    for place, (inputs, taps, outputs) in enumerate(
        zip(found.of_inputs, found.of_taps, found.from_products, strict=True)
    ):
        longest = max(part.shape[axis] for part, tap in zip(parts, taps, strict=True) if tap)
        total = np.zeros([longest if number == axis else size for number, size in enumerate(kernel.shape)])
        for part, tap in zip(parts, taps, strict=True):
            if tap:
                total[(slice(None),) * axis + (slice(part.shape[axis]),)] += tap * part
        # ceil((pixels - length + 1) / STEP) outputs need longest - 1 sums more
        reach = STEP * (longest - 1) - length
        pixels = tuple(float(value) for value in inputs)
        while pixels[-1] == 0 and reach + len(pixels) > 0:
            pixels = pixels[:-1]
        yield _Product(pixels, total, tuple(map(float, outputs)), place in biased, reach + len(pixels))


@dataclass(frozen=True)
class _Place:
    """A plane of the map, and the zeros around it: top, left, bottom, right."""

    plane: ir.Value
    pads: tuple[int, int, int, int]
    word: str


class MinimalFiltering:
    """Conv as smaller ones on every second or fourth pixel that share products."""

    def __init__(self, *, whole: bool) -> None:
        """``whole``: down to single taps; else of every second tap, and no further."""
        self._whole = whole
        self._kernels = range(3, 2 * LONGEST_WHOLE + 1) if whole else range(3, 32)
        self.name = f"minimal filtering, {'1x1 products' if whole else 'kernels of half the size'}"

    def kind(self, node: ir.Node) -> str:
        """Return the kind by kernel, channels and groups; kernels of half the size on one map share sums and a kind."""
        own = self._described(node)
        if not own or self._whole or node.inputs[0] is None:
            return own
        together = sorted({found for other in node.inputs[0].consumers() if (found := self._described(other))})
        if len(together) > 1:
            return f"convolutions of one map: {', '.join(together)}"
        weight = constant(node.inputs[1])
        return own if weight is not None and max(weight.shape[2:]) > LONGEST_WHOLE else ""

    def _described(self, node: ir.Node) -> str:
        weight = constant(node.inputs[1]) if node.op_type == "Conv" else None
        if weight is None or weight.ndim != 4 or not all(size in self._kernels for size in weight.shape[2:]):
            return ""
        groups = node.attributes.get_int("group", 1)
        outputs, inputs = weight.shape[0] // groups, weight.shape[1]
        found = sizes(node.outputs[0], 4)
        if not moves_by_one(node) or min(inputs, outputs) < FEWEST or found is None:
            return ""
        if any(size is not None and size < 2 * STEP ** len(self._levels(weight)) for size in found[2:]):
            return ""
        within = f" in {groups} groups" if groups > 1 else ""
        return f"Conv {weight.shape[2]}x{weight.shape[3]}, {inputs * groups} to {len(weight)} channels{within}"

    def apply(self, node: ir.Node) -> None:
        """Write in the node's place sums of pixels, smaller convolutions, their sums, and the pixels put back."""
        weight = constant(node.inputs[1])
        found = sizes(node.outputs[0], 4)
        assert node.inputs[0] is not None
        assert weight is not None
        assert found is not None
        top, left, bottom, right = node.attributes.get_ints("pads", (0, 0, 0, 0))
        write = Writer(node)
        parts = _Parts(write, node.attributes.get_int("group", 1), len(weight), weight.dtype)
        bias = node.inputs[2] if len(node.inputs) > 2 else None
        place = _Place(node.inputs[0], (top, left, bottom, right), "part")
        # sums of taps in double precision, to be rounded once
        grid = parts.outputs(place, weight.astype(np.float64), bias, self._levels(weight))
        pixels = _put_back(write, grid, found)
        more = (top + bottom - weight.shape[2] + 1, left + right - weight.shape[3] + 1)
        cut = [axis for axis in (2, 3) if (size := found[axis]) is None or size % len(grid)]
        if cut:
            ends = [write.size(node.inputs[0], axis, found[axis], more[axis - 2]) for axis in cut]
            end = ends[0]
            if len(ends) == 2:
                end = write.integers("Concat", ends, "ends", axis=0)
            starts = write.weight(np.zeros(len(cut), np.int64), "first pixels")
            axes = write.weight(np.array(cut, np.int64), "axes to cut")
            pixels = write.node("Slice", [pixels, starts, end, axes], "cut off")
        write.put(pixels)

    def _levels(self, weight: np.ndarray) -> list[bool]:
        """Return how the kernel is split, one level after the other; True: down to single taps."""
        return [*([False] * (max(weight.shape[2:]) > LONGEST_WHOLE)), True] if self._whole else [False]


def _put_back(write: Writer, grid: Grid, found: tuple[int | None, ...]) -> ir.Value:
    """The grid's pixels in their places: columns side by side, then rows. DepthToSpace is seven times slower."""
    last = write.number(4, "last axis")
    rows = []
    for number, row in enumerate(grid):
        columns = [write.node("Unsqueeze", [value, last], f"column {number}.{j}") for j, value in enumerate(row)]
        rows.append(write.node("Concat", columns, f"row {number}", axis=4))
    together = write.node("Concat", rows, "rows", axis=3)
    step = len(grid)
    height, width = (None if size is None else -(-size // step) * step for size in found[2:])
    if height is not None and width is not None:
        shape = write.weight(np.array([0, 0, height, width], np.int64), "height and width")
    else:
        of_one = write.integers("Shape", [grid[0][0]], "size of one")
        times = write.weight(np.array([1, 1, step, step], np.int64), "times")
        shape = write.integers("Mul", [of_one, times], "size of all")
    return write.node("Reshape", [together, shape], "pixels")


class _Parts:
    """Writes a convolution as several on fewer pixels, again and again."""

    def __init__(self, write: Writer, groups: int, channels: int, dtype: np.dtype) -> None:
        self._write, self._groups, self._channels, self._dtype = write, groups, channels, dtype

    def outputs(self, place: _Place, kernel: np.ndarray, bias: ir.Value | None, levels: Sequence[bool]) -> Grid:
        """The convolution's outputs as a grid: at [i][j] the pixels of rows i + step * n and columns j + step * m."""
        if not levels:
            operands = [place.plane, self._write.weight(kernel.astype(self._dtype), f"kernel {place.word}")]
            operands += [] if bias is None else [bias]
            return [[self._write.node("Conv", operands, place.word, group=self._groups, pads=place.pads)]]
        whole, *rest = levels
        total: list[list[Grid | None]] = [[None] * STEP for _ in range(STEP)]
        for i, rows in enumerate(_products(kernel, 2, whole=whole)):
            # what the products along the columns give is added up along the rows before
            halves: list[Grid | None] = [None] * STEP
            for j, columns in enumerate(_products(rows.kernel, 3, whole=whole)):
                part = self._sums(place, rows, columns, f"{place.word}.{i}{j}")
                its_bias = bias if rows.with_bias and columns.with_bias else None
                grid = self.outputs(part, columns.kernel, its_bias, rest)
                for column, times in enumerate(columns.outputs):
                    halves[column] = self._added(halves[column], grid, times, f"{part.word}+{column}")
            for row, times in enumerate(rows.outputs):
                for column, half in enumerate(halves):
                    assert half is not None
                    word = f"{place.word}.{i}+{row}{column}"
                    total[row][column] = self._added(total[row][column], half, times, word)
        return _interleaved(total)

    def _sums(self, place: _Place, rows: _Product, columns: _Product, word: str) -> _Place:
        """Pixels and their neighbours, added up by a depthwise convolution."""
        top, left, bottom, right = place.pads
        down, (above, below), vertical = _split(rows, 2, top, bottom)
        across, (before, after), horizontal = _split(columns, 3, left, right)
        channels = rows.kernel.shape[1] * self._groups
        weight = np.tile(np.outer(down, across).astype(self._dtype), (channels, 1, 1, 1))
        pads = [above, before, below, after]
        around = (vertical[0], horizontal[0], vertical[1], horizontal[1])
        if (there := _written(place.plane, weight, pads)) is not None:
            return _Place(there, around, word)
        plane = self._write.node(
            "Conv",
            [place.plane, self._write.weight(weight, f"pixels {word}")],
            f"plane {word}",
            group=channels,
            strides=[STEP, STEP],
            pads=pads,
        )
        return _Place(plane, around, word)

    def _added(self, total: Grid | None, grid: Grid, times: float, word: str) -> Grid | None:
        """``total + times * grid``."""
        if not times:
            return total
        if times != 1:
            grid = [
                [self._scaled(value, times, f"{word}*{i}{j}") for j, value in enumerate(row)]
                for i, row in enumerate(grid)
            ]
        if total is None:
            return grid
        return [
            [
                self._write.node("Add", [a, b], f"sum {word}.{i}{j}")
                for j, (a, b) in enumerate(zip(one, two, strict=True))
            ]
            for i, (one, two) in enumerate(zip(total, grid, strict=True))
        ]

    def _scaled(self, value: ir.Value, times: float, word: str) -> ir.Value:
        """A depthwise 1x1 convolution: ONNX Runtime adds to its output what is added next, and keeps its layout."""
        weight = np.full((self._channels, 1, 1, 1), times, self._dtype)
        return self._write.node(
            "Conv", [value, self._write.weight(weight, f"times {word}")], word, group=self._channels
        )


def _interleaved(total: list[list[Grid | None]]) -> Grid:
    """Grids of a grid as one: neighbours of the output first, whose pixels the inner grids hold."""
    inner = total[0][0]
    assert inner is not None
    found: Grid = []
    for row in range(STEP * len(inner)):
        grids = [grid for grid in total[row % STEP] if grid is not None]
        found.append([grids[column % STEP][row // STEP][column // STEP] for column in range(STEP * len(inner))])
    return found


def _written(plane: ir.Value, weight: np.ndarray, pads: list[int]) -> ir.Value | None:
    """Return the sums if another convolution of the same map has them already, as those of PSA do."""
    for node in plane.consumers():
        if node.op_type != "Conv" or list(node.attributes.get_ints("pads", ())) != pads or len(node.inputs) > 2:
            continue
        strides, found = node.attributes.get_ints("strides", ()), constant(node.inputs[1])
        if set(strides) == {STEP} and found is not None and np.array_equal(found, weight):
            return node.outputs[0]
    return None


def _split(
    along: _Product, axis: int, first: int, last: int
) -> tuple[tuple[float, ...], tuple[int, int], tuple[int, int]]:
    """Return the factors of the pixels, and the zeros around the map that the sums need, and those of the sums.

    Sums of nothing but zeros are left to the convolution of the sums: there are fewer to compute.
    """
    pixels, last = along.pixels, last + along.more
    if along.kernel.shape[axis] == 1:
        outer = (0, 0)
    else:
        outer = (
            max(0, (first - max(0, len(pixels) - 2)) // STEP),
            max(0, last - max(0, len(pixels) - 1 - _zeros(pixels))) // STEP,
        )
    first, last = first - STEP * outer[0], last - STEP * outer[1]
    fewer = min(_zeros(pixels), first)
    return pixels[fewer:], (first - fewer, last), outer


def _zeros(pixels: tuple[float, ...]) -> int:
    """Return how many come first."""
    return next(place for place, value in enumerate(pixels) if value)


TURN = 7
REWRITES = (MinimalFiltering(whole=False), MinimalFiltering(whole=True))
