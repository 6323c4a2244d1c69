"""Keywords of version 0.1.0 go to the option objects, with a warning; anything else is an error as ever."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import pytest

import attn2trt
from attn2trt import Judging, PrecisionRequest, Weights
from attn2trt.errors import InputError
from attn2trt.workflows.earlier_keywords import with_earlier_keywords


@with_earlier_keywords
def verb(
    target: str,
    *,
    precision: str | PrecisionRequest = "fp32",
    weights: Weights | None = None,
    judging: Judging | None = None,
) -> tuple[Any, ...]:
    return precision, weights, judging


@pytest.mark.parametrize(
    ("keywords", "precision", "weights", "judging", "words"),
    [
        ({"seed": 3}, "fp32", Weights(seed=3), None, r"seed of verb go .* weights=Weights\(seed=…\)"),
        (
            {"weights": Weights(seed=3), "pretrained": True},
            *("fp32", Weights(seed=3, pretrained=True), None, "pretrained"),
        ),
        (
            {"verdict": False, "max_error": 0.1},
            *("fp32", None, Judging(verdict=False, max_error=0.1), r"judging=Judging\(verdict=…, max_error=…\)"),
        ),
        (
            {"precision": "fp16", "keep_fp32": ["a"]},
            *(PrecisionRequest(precisions="fp16", keep_fp32=["a"]), None, None, r"precision=PrecisionRequest"),
        ),
        (
            {"precision": PrecisionRequest(precisions="int8"), "calibration": "entropy"},
            *(PrecisionRequest(precisions="int8", calibration="entropy"), None, None, "calibration"),
        ),
    ],
)
def test_an_earlier_keyword_is_a_field_of_its_option_object(
    keywords: dict[str, Any], precision: Any, weights: Any, judging: Any, words: str
) -> None:
    with pytest.warns(DeprecationWarning, match=words) as warned:
        assert verb("se", **keywords) == (precision, weights, judging)
    assert [Path(one.filename).name for one in warned] == [Path(__file__).name]


def test_the_keywords_of_today_give_no_warning() -> None:
    judging = Judging(inputs="photographs")
    assert verb("se", precision="fp16", judging=judging) == ("fp16", None, judging)


def test_an_unknown_keyword_is_an_error_and_the_signature_is_that_of_today() -> None:
    unknown: Any = {"sede": 1}
    with pytest.raises(TypeError, match="sede"):
        attn2trt.deploy("se", **unknown)
    assert not {"seed", "max_error", "keep_fp32"} & {*inspect.signature(attn2trt.deploy).parameters}


def test_what_an_earlier_keyword_is_wrong_about_is_stated_as_ever(tmp_path: Path) -> None:
    wrong: Any = {"calibration": "best"}
    with (
        pytest.raises(InputError, match="received --calibration 'best'; expected minmax"),
        pytest.warns(DeprecationWarning, match="calibration"),
    ):
        attn2trt.deploy("se", out=tmp_path / "se", precision="int8", **wrong)


def test_a_verb_takes_the_fields_of_its_own_option_objects_alone() -> None:
    earlier: Any = {"seed": 1}
    with (
        pytest.raises(InputError, match="received 0 threads"),
        pytest.warns(DeprecationWarning, match=r"seed of cost go in the next version; pass weights=Weights"),
    ):
        attn2trt.cost("se", threads=0, **earlier)
    other: Any = {"max_error": 1.0}
    with pytest.raises(TypeError, match="max_error"):
        attn2trt.benchmark("se", **other)
