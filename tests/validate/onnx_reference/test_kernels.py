"""The operators that replace the reference evaluator's own, beside PyTorch in float64 and beside ONNX's text."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from typing import Any

import numpy as np
import pytest
import torch
from onnx import helper, parser
from onnx.reference import ReferenceEvaluator
from torch.nn import functional
from torchvision.ops import deform_conv2d

from attn2trt.validate.onnx_reference.formulas import gather_elements
from attn2trt.validate.onnx_reference.kernels import replacements
from attn2trt.validate.onnx_reference.levels import quantised
from attn2trt.validate.onnx_reference.plain_kernels import Manner
from attn2trt.validate.onnx_reference.windows import convolve, convolve_transposed, pool_max, pool_mean

X = np.random.default_rng(0).normal(size=(2, 6, 9, 11))
T = torch.from_numpy(X)


def pair(value: int | list[int]) -> list[int]:
    return [value, value] if isinstance(value, int) else value


@pytest.mark.parametrize(
    "how", [{}, {"stride": [2, 1]}, {"padding": [1, 2]}, {"dilation": [2, 1]}, {"groups": 3}, {"groups": 6}]
)
def test_convolution(how: dict[str, Any]) -> None:
    rng = np.random.default_rng(1)
    groups = how.get("groups", 1)
    w, b = rng.normal(size=(12, 6 // groups, 3, 2)), rng.normal(size=12)
    found = convolve(
        X,
        w,
        b,
        group=groups,
        strides=pair(how.get("stride", 1)),
        pads=pair(how.get("padding", 0)) * 2,
        dilations=pair(how.get("dilation", 1)),
    )
    np.testing.assert_allclose(found, functional.conv2d(T, torch.tensor(w), torch.tensor(b), **how), atol=1e-12)


@pytest.mark.parametrize(("auto_pad", "before"), [("SAME_UPPER", 0), ("SAME_LOWER", 1)])
def test_padding_that_keeps_the_size(auto_pad: str, before: int) -> None:
    w = np.random.default_rng(1).normal(size=(4, 6, 2, 2))
    found = convolve(X, w, auto_pad=auto_pad)
    padded = np.pad(X, [(0, 0), (0, 0), (before, 1 - before), (before, 1 - before)])
    np.testing.assert_allclose(found, functional.conv2d(torch.tensor(padded), torch.tensor(w)), atol=1e-12)


@pytest.mark.parametrize(
    "how",
    [
        {},
        {"stride": [2, 3]},
        {"padding": [1, 2], "stride": 2},
        {"dilation": [2, 1]},
        {"groups": 3},
        {"output_padding": 1, "stride": 2},
        {"groups": 2, "stride": 2, "padding": 1},
    ],
)
def test_transposed_convolution(how: dict[str, Any]) -> None:
    rng = np.random.default_rng(1)
    groups = how.get("groups", 1)
    w, b = rng.normal(size=(6, 4, 3, 3)), rng.normal(size=4 * groups)
    found = convolve_transposed(
        X,
        w,
        b,
        group=groups,
        strides=pair(how.get("stride", 1)),
        pads=pair(how.get("padding", 0)) * 2,
        dilations=pair(how.get("dilation", 1)),
        output_padding=pair(how.get("output_padding", 0)),
    )
    expected = functional.conv_transpose2d(T, torch.tensor(w), torch.tensor(b), **how)
    np.testing.assert_allclose(found, expected, atol=1e-12)


@pytest.mark.parametrize(("stride", "padding", "is_ceil"), [*product((1, 2, 3), (0, 1), (False, True))])
def test_pooling(stride: int, padding: int, is_ceil: bool) -> None:
    how: dict[str, Any] = {"kernel_shape": [3, 2], "strides": [stride] * 2, "pads": [padding] * 4}
    like: dict[str, Any] = {"stride": stride, "padding": padding, "ceil_mode": is_ceil}
    np.testing.assert_array_equal(pool_max(X, ceil_mode=int(is_ceil), **how), functional.max_pool2d(T, [3, 2], **like))
    for counts in (False, True):
        found = pool_mean(X, ceil_mode=int(is_ceil), count_include_pad=int(counts), **how)
        expected = functional.avg_pool2d(T, [3, 2], count_include_pad=counts, **like)
        np.testing.assert_allclose(found, expected, atol=1e-12)


def run(kind: str, opset: int, *given: np.ndarray, rounds: bool = True, **attributes: Any) -> np.ndarray:
    """One operator in the evaluator."""
    names = [f"i{place}" for place in range(len(given))]
    values = [helper.make_tensor_value_info(name, 1, None) for name in (*names, "y")]
    node = helper.make_node(kind, names, ["y"], **attributes)
    made = helper.make_model(
        helper.make_graph([node], "g", values[:-1], values[-1:]), opset_imports=[helper.make_opsetid("", opset)]
    )
    evaluator = ReferenceEvaluator(made, new_ops=replacements(opset, Manner(rounds)))
    return np.asarray(evaluator.run(None, dict(zip(names, given, strict=True)))[0])


@pytest.mark.parametrize("kind", ["Softmax", "LogSoftmax", "Hardmax"])
def test_the_softmaxes_before_opset_13_are_over_all_behind_the_axis(kind: str) -> None:
    flat = X.reshape(2 * 6, -1)
    found = run(kind, 11, X, axis=2).reshape(flat.shape)
    expected = {
        "Softmax": torch.tensor(flat).softmax(1),
        "LogSoftmax": torch.tensor(flat).log_softmax(1),
        "Hardmax": functional.one_hot(torch.tensor(flat).argmax(1), flat.shape[1]),
    }[kind]
    np.testing.assert_allclose(found, expected, atol=1e-12)
    np.testing.assert_allclose(run(kind, 11, X).reshape(2, -1), run(kind, 11, X.reshape(2, -1)), atol=1e-12)
    np.testing.assert_allclose(run(kind, 13, X), run(kind, 13, X, axis=-1), atol=1e-12)


@pytest.mark.parametrize(
    ("kind", "of"),
    [
        ("Erf", torch.erf),
        ("Gelu", functional.gelu),
        ("HardSwish", functional.hardswish),
        ("Mish", functional.mish),
    ],
)
def test_activations_that_the_evaluator_lacks_or_has_in_float32(
    kind: str, of: Callable[[torch.Tensor], torch.Tensor]
) -> None:
    for given in (5 * X, np.array([np.nan, np.inf, -0.0, 1e-300]), X[:0]):
        with np.errstate(invalid="ignore"):
            found = run(kind, 20, given)
        np.testing.assert_allclose(found, of(torch.tensor(given)), atol=1e-12)


@pytest.mark.parametrize("padding", ["zeros", "border", "reflection"])
@pytest.mark.parametrize(("opset", "mode"), [(16, "bilinear"), (20, "linear"), (20, "nearest")])
def test_sampling_by_a_grid(opset: int, mode: str, padding: str) -> None:
    grid = np.random.default_rng(1).uniform(-2.9, 2.9, size=(2, 4, 5, 2))
    like = {"linear": "bilinear"}.get(mode, mode)
    for corners in (False, True):
        how = {"padding_mode": padding, "align_corners": corners}
        expected = functional.grid_sample(T, torch.tensor(grid), mode=like, **how)
        found = run("GridSample", opset, X, grid, mode=mode, padding_mode=padding, align_corners=int(corners))
        np.testing.assert_allclose(found, expected, atol=1e-12)


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_deformable_convolution(masked: bool, dtype: type) -> None:
    rng = np.random.default_rng(1)
    sizes = (4, 9)  # of a kernel of 3x2 with strides 2, 1, pads 1, 0 and dilations 2, 2
    w, b = rng.normal(size=(4, 2, 3, 2)).astype(dtype), rng.normal(size=4).astype(dtype)
    offset = rng.uniform(-9, 9, size=(2, 2 * 2 * 6, *sizes)).astype(dtype)
    mask = rng.uniform(size=(2, 2 * 6, *sizes)).astype(dtype) if masked else None
    x = X[:, :4].astype(dtype)
    how = {"strides": [2, 1], "pads": [1, 0, 1, 0], "dilations": [2, 2], "group": 2, "offset_group": 2}
    found = run("DeformConv", 19, x, w, offset, b, *([] if mask is None else [mask]), **how)
    of_mask = None if mask is None else torch.tensor(mask)
    moved = deform_conv2d(
        *map(torch.tensor, (x, offset, w, b)), stride=(2, 1), padding=(1, 0), dilation=(2, 2), mask=of_mask
    )
    assert found.dtype == dtype
    np.testing.assert_allclose(found, moved, atol=1e-12 if dtype == np.float64 else 1e-4)


@pytest.mark.parametrize("opset", [9, 13, 14, 17])
def test_normalisation_by_stored_statistics(opset: int) -> None:
    scale, bias, mean, variance = np.random.default_rng(1).uniform(0.5, 2, size=(4, 6))
    stored = [torch.tensor(value) for value in (mean, variance, scale, bias)]
    found = run("BatchNormalization", opset, X, scale, bias, mean, variance, epsilon=1e-3, momentum=0.9)
    np.testing.assert_allclose(found, functional.batch_norm(T, *stored, eps=1e-3), atol=1e-7)


def test_statistics_of_the_batch_are_refused() -> None:
    values = np.random.default_rng(1).uniform(0.5, 2, size=(4, 6))
    with pytest.raises(NotImplementedError):
        run("BatchNormalization", 17, X, *values, training_mode=1)


@pytest.mark.parametrize(("opset", "of"), [(18, 3), (21, 6)])
def test_normalisation_of_groups(opset: int, of: int) -> None:
    scale, bias = np.random.default_rng(1).normal(size=(2, of))
    channels = [torch.tensor(np.repeat(value, 6 // of)) for value in (scale, bias)]
    expected = functional.group_norm(T, 3, *channels, eps=1e-3)
    found = run("GroupNormalization", opset, X, scale, bias, num_groups=3, epsilon=1e-3)
    np.testing.assert_allclose(found, expected, atol=1e-7)  # the attribute is float32's 1e-3


@pytest.mark.parametrize("shape", [(2, 6, 9, 11), (7, 3, 4)])
def test_normalisation_by_the_channels_around(shape: tuple[int, ...]) -> None:
    x = np.random.default_rng(2).normal(size=shape)
    found = run("LRN", 17, x, size=3, alpha=0.1, beta=0.5)
    np.testing.assert_allclose(found, functional.local_response_norm(torch.tensor(x), 3, 0.1, 0.5), atol=1e-12)


LOOP = """<ir_version: 8, opset_import: ["" : 17]> g (double[n, m] x, int64 limit) =>
    (double[n, m] z, double[k, n, m] y)
    { z, y = Loop (limit, , x) <body = pass (int64 i, bool on, double[n, m] a)
        => (bool go, double[n, m] b, double[n, m] c)
        { f = Cast <to = 11> (i) b = Add (a, f) c = Identity (b) k = Constant <value_int = 4> () go = LessOrEqual (i, k)
    }> }"""


@pytest.mark.parametrize(("limit", "passes"), [(3, 3), (9, 6)])
def test_what_each_pass_of_a_loop_adds_has_an_axis_of_its_own(limit: int, passes: int) -> None:
    made = parser.parse_model(LOOP)
    evaluator = ReferenceEvaluator(made, new_ops=replacements(17, Manner()))
    last, added = evaluator.run(None, {"x": X[0, 0], "limit": np.int64(limit)})
    expected = [X[0, 0] + number * (number + 1) / 2 for number in range(passes)]
    np.testing.assert_allclose(added, expected)
    np.testing.assert_array_equal(last, added[-1])
    with pytest.raises(NotImplementedError, match="no pass"):
        evaluator.run(None, {"x": X[0, 0], "limit": np.int64(0)})


def test_quantisation_rounds_to_levels_or_keeps_what_is_between() -> None:
    scale, zero = np.array(0.1), np.array(10, np.uint8)
    x = np.array([0.26, -3.0, 100.0])
    assert run("QuantizeLinear", 17, x, scale, zero).tolist() == [13, 0, 255]
    between = run("QuantizeLinear", 17, x, scale, zero, rounds=False)
    np.testing.assert_allclose(run("DequantizeLinear", 17, between, scale, zero), [0.26, -1.0, 24.5], atol=1e-12)


def test_each_channel_has_its_own_scale() -> None:
    scales = np.array([0.5, 1.0, 2.0])
    found = run("DequantizeLinear", 17, np.ones((2, 3, 4), np.int8), scales, axis=1)
    assert found[0, :, 0].tolist() == scales.tolist()


def test_levels_of_a_float_type_are_its_numbers() -> None:
    assert quantised(np.array([1.0, 1.06, 500.0]), np.array(1.0), "float8_e4m3fn").tolist() == [1.0, 1.0, 448.0]


@pytest.mark.parametrize("axis", [0, 1, 2, -1])
def test_elements_are_gathered_along_an_axis_of_any_length(axis: int) -> None:
    rng = np.random.default_rng(2)
    x = rng.normal(size=(70, 80, 90))
    places = rng.integers(-x.shape[axis], x.shape[axis], size=(7, 80, 9))
    wanted = torch.tensor(x).gather(axis % 3, torch.tensor(places % x.shape[axis]))
    assert np.array_equal(gather_elements(x, places, axis=axis), wanted.numpy())
    assert gather_elements(x, places[:0], axis=axis).shape == (0, 80, 9)
    with pytest.raises(IndexError):
        gather_elements(x, np.full((1, 1, 1), 90), axis=axis)
    with pytest.raises(ValueError, match="places of shape"):
        gather_elements(x[:1, :1, :1], places, axis=axis)
