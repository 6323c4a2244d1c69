"""The replacement of a call while tracing equals that call in eager PyTorch."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch._higher_order_ops import scan, while_loop
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

from attn2trt.export.trace.rewrites import (
    SizeIndependentCalls,
    antialiased,
    arctangents,
    assigned,
    attention,
    cross_entropy,
    fourier,
    scattering,
)
from attn2trt.export.trace.rewrites.calls import bound
from attn2trt.export.trace.rewrites.folding import fold
from attn2trt.export.trace.rewrites.grids import linspace
from attn2trt.export.trace.rewrites.pooling import windows
from attn2trt.export.trace.size_numbers import sizes_stay_numbers


@pytest.mark.parametrize(("kernel", "stride"), [((3, 4), (3, 4)), ((4, 2), (1, 3)), ((9, 5), (9, 5)), ((9, 1), (1, 1))])
def test_gathered_windows_equal_pooling(kernel: tuple[int, int], stride: tuple[int, int]) -> None:
    x = torch.randn(2, 3, 9, 11, dtype=torch.float64)
    torch.testing.assert_close(windows(x, kernel, stride, 2, torch.mean), F.avg_pool2d(x, kernel, stride))
    torch.testing.assert_close(windows(x, kernel, stride, 2, torch.amax), F.max_pool2d(x, kernel, stride))


def test_arctangents_equal_those_of_pytorch_at_zeros_of_either_sign() -> None:
    values = torch.tensor([0.0, -0.0, 1e-30, -1e-30, 1.0, -1.0, 3e5, -3e5], dtype=torch.float64)
    y, x = torch.meshgrid(values, values, indexing="ij")
    for function, args in ((torch.atan2, (y, x)), (torch.angle, (torch.complex(x, y),))):
        names, rewrite = arctangents.REWRITES[function]
        torch.testing.assert_close(rewrite(bound(names, args, {})), function(*args), rtol=0, atol=1e-15)


@pytest.mark.parametrize("options", [(3, 1, 1, 1), (2, 1, 0, 2), ((3, 2), (2, 1), (2, 1), (1, 2))])
def test_a_transposed_convolution_folds(options: tuple[object, ...]) -> None:
    kernel, dilation, padding, stride = options
    x = torch.randn(2, 3, 9, 11, dtype=torch.float64)
    patches = F.unfold(x, kernel, dilation, padding, stride)  # type: ignore[arg-type]
    expected = F.fold(patches, (9, 11), kernel, dilation, padding, stride)  # type: ignore[arg-type]
    torch.testing.assert_close(fold(patches, (9, 11), kernel, dilation, padding, stride), expected)


@pytest.mark.parametrize("mode", ["bilinear", "bicubic"])
@pytest.mark.parametrize(
    "sizes",
    [
        {"size": (4, 23)},
        {"size": (9, 11)},
        {"size": 1},
        {"scale_factor": 0.3},
        {"scale_factor": (1.7, 0.6)},
        {"scale_factor": 0.3, "recompute_scale_factor": True},
    ],
)
def test_two_products_resize_with_antialiasing(sizes: dict[str, object], mode: str) -> None:
    x = torch.randn(2, 3, 9, 11, dtype=torch.float64)
    expected = F.interpolate(x, **sizes, mode=mode, antialias=True)  # type: ignore[arg-type]
    found = antialiased.resize({"input": x, **sizes, "mode": mode, "antialias": True})
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
    assert antialiased.resize({"input": x, **sizes, "mode": mode, "align_corners": True}) is None


@pytest.mark.parametrize("steps", [1, 2, 7, 8])
def test_linspace_reaches_both_ends(steps: int) -> None:
    found = linspace(-1.0, 2.0, steps, torch.float32)
    torch.testing.assert_close(found, torch.linspace(-1.0, 2.0, steps), rtol=0, atol=2e-7)
    assert found[0] == -1.0
    assert steps == 1 or found[-1] == 2.0


def test_arguments_are_found_under_their_names() -> None:
    assert bound(("input", "chunks", "dim"), (1, 2), {"dim": 3}) == {"input": 1, "chunks": 2, "dim": 3}
    assert bound(("input", "chunks"), (), {"self": 1, "chunks": 2}) == {"input": 1, "chunks": 2}


@pytest.mark.parametrize("rank", [3, 4])
@pytest.mark.parametrize("options", [{}, {"is_causal": True}, {"attn_mask": torch.rand(5, 5) > 0.5}])
@pytest.mark.parametrize("scale", [-0.7, 0.7, None])
def test_attention_is_pytorchs_with_a_scale_of_either_sign(
    rank: int, options: dict[str, object], scale: float | None
) -> None:
    q, k, v = torch.randn(3, *(2, 3, 5, 4)[4 - rank :], dtype=torch.float64)
    given = {"query": q, "key": k, "value": v, "scale": scale, **options}
    found = attention._attention(given)
    # torch.onnx translates the usual call by itself
    assert (found is None) == (rank == attention.RANK and "attn_mask" not in options and scale != -0.7)
    if found is not None:
        with sdpa_kernel(SDPBackend.MATH):  # the other kernel of the CPU makes causal scores of the wrong infinity
            expected = F.scaled_dot_product_attention(**given)  # type: ignore[arg-type]
        torch.testing.assert_close(found, expected)


class ReadsNumbers(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> tuple[object, ...]:
        return int("7"), float(3), isinstance(2, int), isinstance(2.0, int), max(2, 3), max([4, 1]), math.sqrt(9), int


def test_stand_ins_are_the_originals_for_ordinary_numbers_and_leave_no_trace() -> None:
    module = ReadsNumbers()
    before = dict(globals())
    with sizes_stay_numbers(module):
        inside = module(torch.zeros(1))
    assert inside[:-1] == (7, 3.0, True, False, 3, 4, 3.0)
    assert inside[-1] is not int
    assert module(torch.zeros(1))[-1] is int
    assert dict(globals()) == before


def test_a_small_constant_survives_the_exporters_optimisation() -> None:
    import onnx_ir as ir
    from onnxscript.optimizer import optimize

    from attn2trt.export.passes.small_constants import hidden_constants

    text = """<ir_version: 8, opset_import: ["" : 18]>
        g (float[n, 3] x) => (float[n, 3] y) {
            small = Constant <value_float = 1e-9> ()
            zero = Constant <value_float = 0.0> ()
            near = Constant <value_float = 1.000001> ()
            guarded = Add (x, small)
            same = Add (guarded, zero)
            y = Mul (same, near)
        }"""
    plain, kept = ir.from_onnx_text(text), ir.from_onnx_text(text)
    optimize(plain)
    assert [node.op_type for node in plain.graph if node.op_type != "Identity"] == []
    with hidden_constants(kept):
        optimize(kept)
    assert [node.op_type for node in kept.graph] == ["Add", "Mul"]
    assert [value.name for value in kept.graph.inputs] == ["x"]
    constants = [ir.convenience.get_const_tensor(node.inputs[1]) for node in kept.graph]
    assert [round(float(tensor.numpy()), 9) for tensor in constants if tensor is not None] == [1e-9, 1.000000954]


@pytest.mark.parametrize("norm", [None, "ortho", "forward"])
@pytest.mark.parametrize("suffix", ["", "2", "n"])
def test_matrix_products_equal_fourier_transforms(suffix: str, norm: str | None) -> None:
    x = torch.randn(3, 6, 7, 9, dtype=torch.float64)
    pairs = torch.complex(x, x.flip(3))
    size = {"": {"n": 9}, "2": {"s": (7, 9)}, "n": {"s": (3, 6, 7, 9)}}[suffix]
    half = getattr(torch.fft, "rfft" + suffix)(x)
    calls = [("fft", x, {}), ("fft", pairs, {}), ("ifft", pairs, {}), ("rfft", x, {}), ("irfft", half, size)]
    calls += [("irfft", x, {}), ("hfft", half, size), ("hfft", x, {})]
    for name, given, options in calls:
        function = getattr(torch.fft, name + suffix)
        names, rewrite = fourier.REWRITES[function]
        found = rewrite(bound(names, (given,), {**options, "norm": norm}))
        torch.testing.assert_close(found, function(given, **options, norm=norm), rtol=0, atol=1e-11)
    even = torch.fft.rfft(x[..., :8])
    names, rewrite = fourier.REWRITES[torch.fft.irfft]
    torch.testing.assert_close(rewrite(bound(names, (even,), {})), x[..., :8], rtol=0, atol=1e-12)


@pytest.mark.parametrize("include_self", [True, False])
@pytest.mark.parametrize("function", [torch.scatter_reduce, torch.Tensor.scatter_reduce_])
def test_a_mean_is_scattered_as_pytorch_does(function: Callable[..., torch.Tensor], include_self: bool) -> None:
    x, source = torch.randn(2, 3, 5, dtype=torch.float64), torch.randn(2, 3, 7, dtype=torch.float64)
    index = torch.randint(0, 4, (2, 3, 7))  # the last place gets nothing
    names, rewrite = scattering.REWRITES[function]
    args = (2, index, source, "mean")
    found = rewrite(bound(names, (x.clone(), *args), {"include_self": include_self}))
    torch.testing.assert_close(found, function(x.clone(), *args, include_self=include_self))
    assert rewrite(bound(names, (x, 2, index, source, "sum"), {})) is None


@pytest.mark.parametrize("function", [torch.scatter_add, torch.Tensor.scatter_])
def test_what_an_index_has_no_place_for_is_not_scattered(function: Callable[..., torch.Tensor]) -> None:
    x, source = torch.randn(3, 5), torch.randn(3, 7)
    index = torch.stack([torch.randperm(5)[:4] for _ in range(2)])
    names, rewrite = scattering.REWRITES[function]
    found = rewrite(bound(names, (x.clone(), 1, index, source), {}))
    torch.testing.assert_close(found, function(x.clone(), 1, index, source), rtol=0, atol=0)
    assert rewrite(bound(names, (x, 1, index, source[:2, :4]), {})) is None
    assert rewrite(bound(names, (x, 1, index, 2.0), {})) is None


@pytest.mark.parametrize("size", [5, 8, 13, -1])
@pytest.mark.parametrize("name", ["fft", "ifft", "rfft", "irfft"])
def test_a_transform_of_another_length_is_of_what_was_cut_or_padded(name: str, size: int) -> None:
    function = getattr(torch.fft, f"{name}2")
    x = torch.randn(2, 8, 8, dtype=torch.float64)
    x = torch.complex(x, x.roll(1)) if name in ("ifft", "irfft") else x
    names, rewrite = fourier.REWRITES[function]
    sizes = {"s": (6, size)} if size > 0 or name != "irfft" else {}
    torch.testing.assert_close(rewrite(bound(names, (x,), sizes)), function(x, **sizes), rtol=0, atol=1e-12)


@pytest.mark.parametrize("function", [torch.fft.fft2, torch.fft.rfft2, torch.fft.ifft2])
def test_a_level_leaves_nothing_in_the_other_waves(function: Callable[..., torch.Tensor]) -> None:
    x = torch.randn(1, 25, 27) * 1e-3 + 1000
    names, rewrite = fourier.REWRITES[function]
    truth = function(x.double())
    found, eager = (
        (value - truth).abs().flatten()[1:].max() for value in (rewrite(bound(names, (x,), {})), function(x))
    )
    assert found <= 8 * eager


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("is_weighted", [True, False])
@pytest.mark.parametrize("shape", [(6,), (3, 6), (3, 6, 4, 5)])
def test_cross_entropy_is_pytorchs(shape: tuple[int, ...], is_weighted: bool, reduction: str) -> None:
    generator = torch.Generator().manual_seed(0)
    scores = torch.randn(shape, generator=generator, dtype=torch.float64)
    options = {"label_smoothing": 0.1, "reduction": reduction}
    options |= {"weight": torch.arange(1.0, 7, dtype=torch.float64)} if is_weighted else {}
    names, rewrite = cross_entropy.REWRITES[F.cross_entropy]
    labels = torch.randint(0, 6, (*shape[:1], *shape[2:]) if len(shape) > 1 else (), generator=generator)
    shares = scores.softmax(min(1, len(shape) - 1))
    for target, more in (
        (labels, {"ignore_index": 3}),
        (labels, {"label_smoothing": 0.0, "ignore_index": 3}),
        (labels, {}),
        (shares, {}),
        (shares, {"label_smoothing": 0.0}),
    ):
        found = rewrite(bound(names, (scores, target), {**options, **more}))
        torch.testing.assert_close(found, F.cross_entropy(scores, target, **{**options, **more}), equal_nan=True)
    names, rewrite = cross_entropy.REWRITES[F.nll_loss]
    del options["label_smoothing"]
    found = rewrite(bound(names, (scores, labels), options))
    torch.testing.assert_close(found, F.nll_loss(scores, labels, **options))


@pytest.mark.parametrize("old", [{"size_average": True}, {"size_average": False}, {"reduce": False}])
@pytest.mark.filterwarnings("ignore:size_average and reduce args")
def test_smoothed_labels_take_the_arguments_that_came_before_reduction(old: dict[str, bool]) -> None:
    scores, labels = torch.randn(3, 6, dtype=torch.float64), torch.tensor([0, 5, 2])
    names, rewrite = cross_entropy.REWRITES[F.cross_entropy]
    found = rewrite(bound(names, (scores, labels), {"label_smoothing": 0.1, **old}))
    torch.testing.assert_close(found, F.cross_entropy(scores, labels, label_smoothing=0.1, **old))


MASK = torch.tensor([[True, False, True], [False, True, True]])
ALL = slice(None)


@pytest.mark.parametrize(
    ("shape", "index", "value"),
    [
        ((3, 4), MASK[0], 2.0),
        ((2, 3), MASK, torch.tensor(2.0)),
        ((2, 3), MASK, torch.ones(1)),
        ((2, 3, 4), MASK, torch.arange(4.0)),
        ((2, 3, 4), MASK, torch.arange(4.0)[None]),
        ((2, 3, 5, 4), MASK, torch.arange(20.0).reshape(5, 4)),
        ((5, 2, 3), (ALL, MASK), -math.inf),
        ((5, 4, 3), (..., MASK[0]), 1),
        ((5, 2, 3, 4), (..., MASK, ALL), torch.arange(4.0)),
        ((2, 3, 4), (MASK, ...), torch.arange(4.0)),
    ],
)
def test_what_a_mask_is_given_is_pytorchs(shape: tuple[int, ...], index: Any, value: Any) -> None:
    found, expected = torch.zeros(shape), torch.zeros(shape)
    expected[index] = value
    assert assigned.assign({"input": found, "index": index, "value": value}) is found
    assert torch.equal(found, expected)


@pytest.mark.parametrize(
    ("index", "value"),
    [(MASK, torch.ones(4, 4)), (0, 1.0), ((0, MASK[0]), 1.0), ((MASK, torch.tensor([0, 1, 2, 3])), 1.0), (None, 1.0)],
)
def test_another_assignment_is_left_as_it_is(index: Any, value: Any) -> None:
    assert assigned.assign({"input": torch.zeros(2, 3, 4), "index": index, "value": value}) is None


class Bodies(torch.nn.Module):
    """Calls that are rewritten in what torch.cond and loops run."""

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        def pooled(x: torch.Tensor) -> torch.Tensor:
            x = x + 1
            x[x > 1] = 0.5
            return F.adaptive_avg_pool1d(x, 2)

        chosen = torch.cond(x.mean() > 0, pooled, lambda x: F.adaptive_max_pool1d(x, 2), (x,))
        turned = while_loop(lambda i, x: i < 2, lambda i, x: (i + 1, x * pooled(x).amax()), (torch.tensor(0), x))[1]
        summed = scan(lambda sum, x: (sum + x, F.adaptive_avg_pool1d(sum, 3)), torch.zeros(4, x.shape[2]), x)[1]
        return chosen, turned, summed


def test_calls_in_bodies_are_rewritten() -> None:
    axes = ({2: torch.export.Dim.DYNAMIC},)
    with torch.no_grad(), SizeIndependentCalls():
        program = torch.export.export(Bodies(), (torch.randn(2, 4, 6),), dynamic_shapes=axes, strict=False)
    parts = [part for part in program.graph_module.modules() if isinstance(part, torch.fx.GraphModule)]
    called = " ".join(str(node.target) for part in parts for node in part.graph.nodes)
    assert "adaptive" not in called
    assert "index_put" not in called
    for x in (torch.randn(2, 4, 11) + 2, torch.randn(2, 4, 11) - 2):
        torch.testing.assert_close(program.module()(x), Bodies()(x))
