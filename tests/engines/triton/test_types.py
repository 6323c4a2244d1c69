"""Types between a bundle and a server: TensorRT before 10 has no INT64, and Triton has no scalars."""

from __future__ import annotations

import numpy as np
import pytest

from attn2trt.engines.triton.client import Refused
from attn2trt.engines.triton.config import served_type
from attn2trt.engines.triton.source import Source
from attn2trt.validate.stages.triton import _as_declared, _as_served


@pytest.mark.parametrize(
    ("dtype", "tensorrt", "expected"),
    [
        ("float32", "", "FP32"),
        ("float16", "10.0.1", "FP16"),
        ("bool", "", "BOOL"),
        ("uint8", "8.6.0", "UINT8"),
        ("int64", "", "INT64"),
        ("int64", "10.0.1", "INT64"),
        ("int64", "8.6.0", "INT32"),
    ],
)
def test_a_type_has_the_name_that_its_backend_knows(dtype: str, tensorrt: str, expected: str) -> None:
    source = Source("fp32", "tensorrt" if tensorrt else "python", {}, "model", (), tensorrt=tensorrt)
    assert served_type(dtype, source) == expected


def test_int64_is_sent_as_int32_if_it_fits() -> None:
    sent = _as_served(np.array([1, -2]), "INT32")
    assert (sent.dtype, sent.tolist()) == (np.int32, [1, -2])
    with pytest.raises(Refused, match="holds 4294967296, which INT32"):
        _as_served(np.array([1 << 32]), "INT32")
    assert _as_served(np.array([1]), "INT64").dtype == np.int64


def test_a_scalar_is_sent_and_comes_back_as_one_element() -> None:
    assert _as_served(np.array(3.0, np.float32), "FP32").shape == (1,)
    assert _as_declared(np.array([3.0]), "float64", 0).shape == ()
    assert _as_declared(np.array([3.0, 4.0]), "float64", 0).shape == (2,)  # another shape stays one
    assert _as_declared(np.array([3], np.int32), "int64", 1).dtype == np.int64
    assert _as_declared(np.array([3], np.int32), "float32", 1).dtype == np.int32  # another type stays one
