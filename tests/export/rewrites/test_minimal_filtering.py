"""Convolutions of fewer multiplications compute what was there, at every size, and share what they can."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from attn2trt.export.rewrites import apply, kinds
from attn2trt.export.rewrites.minimal_filtering import MinimalFiltering
from attn2trt.export.rewrites.toom_cook import minimal_filter

from ..rewrite_graphs import model, numbers, rewritten, same

HALF, WHOLE = MinimalFiltering(whole=False), MinimalFiltering(whole=True)
CHANNELS = 8


def conv(kernel: tuple[int, int], pads: tuple[int, int, int, int], *, more: str = "", bias: bool = False) -> str:
    attributes = f"kernel_shape: ints = [{kernel[0]}, {kernel[1]}], pads: ints = [{', '.join(map(str, pads))}]{more}"
    return f"y = Conv <{attributes}> (x, weight{', bias' if bias else ''})"


def graph(
    kernel: tuple[int, int], pads: tuple[int, int, int, int], sizes: str = "h, w", groups: int = 1
) -> onnx.ModelProto:
    channels = CHANNELS * groups
    weights = {"weight": numbers(channels, CHANNELS, *kernel), "bias": numbers(channels)}
    body = conv(kernel, pads, more=f", group: int = {groups}", bias=True)
    return model(body, f"double[n, {channels}, {sizes}] x", **weights)


@pytest.mark.parametrize("taps", [1, 2, 3, 4])
@pytest.mark.parametrize("outputs", [1, 2])
def test_a_filter_computes_neighbours_with_the_fewest_products(outputs: int, taps: int) -> None:
    found = minimal_filter(outputs, taps)
    pixels, weights = numbers(outputs + taps - 1), numbers(taps)
    products = (found.of_taps @ weights) * (found.of_inputs @ pixels)
    assert len(products) == outputs + taps - 1
    np.testing.assert_allclose(found.from_products.T @ products, np.correlate(pixels, weights), rtol=1e-12, atol=1e-12)
    assert (found.of_inputs == np.round(found.of_inputs)).all()


def test_more_products_than_single_precision_bears_are_refused() -> None:
    with pytest.raises(ValueError, match="received 6 multiplications; expected 5 or fewer"):
        minimal_filter(2, 5)


@pytest.mark.parametrize("rewrite", [HALF, WHOLE], ids=["half", "whole"])
@pytest.mark.parametrize("kernel", [(5, 5), (7, 7), (6, 6), (8, 5), (3, 7)])
@pytest.mark.parametrize("pads", [(0, 0, 0, 0), (3, 3, 3, 3), (1, 2, 4, 0)])
def test_a_large_kernel_at_every_size(
    rewrite: MinimalFiltering, kernel: tuple[int, int], pads: tuple[int, int, int, int]
) -> None:
    before = graph(kernel, pads)
    after = rewritten(before, rewrite)
    # outputs come in pairs, so that a size is either even or odd
    same(before, after, *({"x": numbers(2, CHANNELS, *size)} for size in [(13, 14), (14, 17)]))


@pytest.mark.parametrize("kernel", [(3, 3), (4, 3), (4, 4)])
@pytest.mark.parametrize("pads", [(0, 0, 0, 0), (1, 1, 1, 1), (2, 0, 1, 3)])
@pytest.mark.parametrize("sizes", ["h, w", "8, w", "h, 9", "8, 9", "10, 12"])
def test_a_small_kernel_in_single_taps(kernel: tuple[int, int], pads: tuple[int, int, int, int], sizes: str) -> None:
    before = graph(kernel, pads, sizes)
    after = rewritten(before, WHOLE)
    kernels = [list(entry.dims[2:]) for entry in after.graph.initializer if " > kernel " in entry.name]
    assert len(kernels) == (kernel[0] + 1) * (kernel[1] + 1)
    assert all(size == [1, 1] for size in kernels)
    height, width = (int(size) if size.isdecimal() else None for size in sizes.split(", "))
    chosen = [(height or more, width or more + 1) for more in (7, 8)]
    same(before, after, *({"x": numbers(1, CHANNELS, *size)} for size in chosen))


@pytest.mark.parametrize("rewrite", [HALF, WHOLE], ids=["half", "whole"])
def test_groups_stay_separate(rewrite: MinimalFiltering) -> None:
    before = graph((7, 7), (3, 3, 3, 3), "12, 12", groups=3)
    same(before, rewritten(before, rewrite), {"x": numbers(2, 3 * CHANNELS, 12, 12)})


def test_half_the_kernel_takes_121_multiplications_for_196() -> None:
    after = rewritten(graph((7, 7), (3, 3, 3, 3), "12, 12"), HALF)
    kernels = [entry.dims for entry in after.graph.initializer if " > kernel " in entry.name]
    assert len(kernels) == 9
    assert sum(height * width for _, _, height, width in kernels) == 121


def test_sizes_that_are_known_and_even_are_not_cut() -> None:
    names = [node.op_type for node in rewritten(graph((7, 7), (3, 3, 3, 3), "12, 16"), HALF).graph.node]
    assert not {"Slice", "Shape"} & set(names)
    assert "Slice" in [node.op_type for node in rewritten(graph((7, 7), (3, 3, 3, 3), "12, 15"), HALF).graph.node]


BRANCHES = (
    "a = Conv <pads: ints = [2, 2, 2, 2]> (x, five) b = Conv <pads: ints = [4, 4, 4, 4]> (x, nine) y = Add (a, b)"
)


def branches() -> onnx.ModelProto:
    weights = {"five": numbers(CHANNELS, CHANNELS, 5, 5), "nine": numbers(CHANNELS, CHANNELS, 9, 9)}
    return model(BRANCHES, f"double[n, {CHANNELS}, 16, 17] x", **weights)


def test_convolutions_of_one_map_are_one_kind_and_share_their_sums() -> None:
    before = branches()
    (kind,) = kinds(ir.from_proto(before), HALF)
    assert kind == "convolutions of one map: Conv 5x5, 8 to 8 channels, Conv 9x9, 8 to 8 channels"
    after = rewritten(before, HALF)
    assert sum(" > pixels " in entry.name for entry in after.graph.initializer) == 9
    same(before, after, {"x": numbers(2, CHANNELS, 16, 17)})


def test_what_a_later_convolution_has_written_comes_before_its_readers() -> None:
    before = branches()
    changed = ir.from_proto(before)
    for kind, rewrite in (("Conv 9x9, 8 to 8 channels", _Only(9)), ("Conv 5x5, 8 to 8 channels", _Only(5))):
        assert apply(changed, rewrite, kind) == 1
    after = ir.to_proto(changed)
    onnx.checker.check_model(after, full_check=True)
    same(before, after, {"x": numbers(2, CHANNELS, 16, 17)})


class _Only:
    """The rewrite for kernels of one size."""

    name = HALF.name

    def __init__(self, size: int) -> None:
        self._size = size

    def kind(self, node: ir.Node) -> str:
        weight = node.inputs[1].const_value if node.op_type == "Conv" and node.inputs[1] is not None else None
        fits = weight is not None and weight.shape[2] == self._size
        return f"Conv {self._size}x{self._size}, 8 to 8 channels" if fits else ""

    def apply(self, node: ir.Node) -> None:
        HALF.apply(node)


def test_one_small_kernel_alone_is_not_halved() -> None:
    assert kinds(ir.from_proto(graph((3, 3), (1, 1, 1, 1))), HALF) == {}


@pytest.mark.parametrize("rewrite", [HALF, WHOLE], ids=["half", "whole"])
@pytest.mark.parametrize(
    "before",
    [
        model(
            conv((7, 7), (0, 0, 0, 0), more=", strides: ints = [2, 1]"),
            "double[n, 8, h, w] x",
            weight=numbers(8, 8, 7, 7),
        ),
        model(
            conv((7, 7), (0, 0, 0, 0), more=", dilations: ints = [2, 2]"),
            "double[n, 8, h, w] x",
            weight=numbers(8, 8, 7, 7),
        ),
        model(
            'y = Conv <auto_pad: string = "SAME_UPPER"> (x, weight)', "double[n, 8, h, w] x", weight=numbers(8, 8, 7, 7)
        ),
        model(conv((7, 1), (0, 0, 0, 0)), "double[n, 8, h, w] x", weight=numbers(8, 8, 7, 1)),
        model(conv((7, 7), (0, 0, 0, 0)), "double[n, 7, h, w] x", weight=numbers(8, 7, 7, 7)),
        model(conv((7, 7), (0, 0, 0, 0)), "double[n, 8, h, w] x", weight=numbers(7, 8, 7, 7)),
        model(conv((7, 7), (0, 0, 0, 0)), "double[n, 8, 9, 12] x", weight=numbers(8, 8, 7, 7)),
        model(conv((7, 7), (0, 0, 0, 0)), "double[n, 8, h, w] x, double[8, 8, 7, 7] weight"),
    ],
)
def test_other_convolutions_stay_as_they_are(rewrite: MinimalFiltering, before: onnx.ModelProto) -> None:
    assert kinds(ir.from_proto(before), rewrite) == {}
