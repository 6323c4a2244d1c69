"""Every public function and option class refuses an argument of another kind than its annotation, in one line."""

from __future__ import annotations

import errno
import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import torch
from torch import nn

import attn2trt
from attn2trt.core.arguments import checked
from attn2trt.errors import InputError, StorageError

OPTIONS = [attn2trt.Weights, attn2trt.Judging, attn2trt.PrecisionRequest, attn2trt.BuildOptions, attn2trt.Method]
OPTIONS += [attn2trt.Thresholds, attn2trt.TuneRequest, attn2trt.Preprocessing]
VERBS = [found for name in attn2trt.__all__ if inspect.isfunction(found := getattr(attn2trt, name))]
# Their annotations name what is imported for type checkers alone: the function itself says what is wrong.
UNREAD = {"target", "example_inputs", "dynamic", "against", "reference"}
GIVEN = {"target": "se", "spec": "se", "trust": True}


@checked
def verb(
    bundle: str | Path,
    *,
    count: int = 1,
    share: float | None = None,
    force: bool = False,
    names: Sequence[str] = (),
    sizes: tuple[int, ...] = (),
    way: Literal["a", "b"] = "a",
    labels: Mapping[str, str] | None = None,
    call: Callable[[str], None] | None = None,
    unread: OnlyForTypes | None = None,  # type: ignore[name-defined]  # noqa: F821
) -> dict[str, Any]:
    return {name: value for name, value in locals().items() if value is not None}


@pytest.mark.parametrize("made", [*VERBS, *OPTIONS], ids=lambda made: made.__name__)
def test_each_parameter_is_checked(made: Callable[..., Any]) -> None:
    parameters = inspect.signature(made).parameters.values()
    needed = {one.name: GIVEN.get(one.name, "x") for one in parameters if one.default is one.empty}
    for name in [one.name for one in parameters if one.name not in UNREAD]:
        with pytest.raises(InputError, match=rf"^received {name}=<object object.*; expected .*; correct it$"):
            made(**{**needed, name: object()})


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"bundle": None}, "received bundle=None; expected a Bundle, or the folder of one; correct it"),
        ({"count": True}, "received count=True; expected a whole number; correct it"),
        ({"count": 1.0}, "expected a whole number"),
        ({"share": "1"}, "received share='1'; expected a number or None; correct it"),
        ({"force": "no"}, "received force='no'; expected True or False; correct it"),
        ({"names": b"x"}, "received names=b'x'; expected a list of texts; correct it"),
        ({"names": ["x", 5]}, "received names=['x', 5]; expected a list of texts; correct it"),
        ({"names": np.zeros(2)}, "expected a list of texts"),
        ({"sizes": "12"}, "received sizes='12'; expected a list of whole numbers; correct it"),
        ({"sizes": [1.5]}, "expected a list of whole numbers"),
        ({"way": 5}, "received way=5; expected 'a' or 'b'; correct it"),
        ({"labels": ["x"]}, "expected a dict or None"),
        ({"call": "print"}, "expected a function or None"),
    ],
)
def test_a_wrong_kind_is_one_line(given: dict[str, Any], expected: str) -> None:
    with pytest.raises(InputError, match=re.escape(expected)) as caught:
        verb(**{"bundle": "x", **given})
    assert "\n" not in str(caught.value)


def test_numbers_of_numpy_paths_and_single_texts_are_taken() -> None:
    found = verb("x", count=np.int64(3), share=np.float32(0.5), force=np.bool_(True), names="one", sizes=np.arange(3))
    numbers = [found[name] for name in ("count", "share", "force")]
    assert numbers == [3, 0.5, True]
    assert [type(number) for number in numbers] == [int, float, bool]
    assert (found["names"], found["sizes"]) == (["one"], (0, 1, 2))
    assert verb("x", names=[Path("a"), ["b"]])["names"] == ("a", ["b"])
    names = ["a", "b"]
    assert verb(bundle="x", names=names, unread=5)["names"] is names


def test_pythons_own_errors_name_the_function() -> None:
    with pytest.raises(TypeError, match=r"verb\(\) got an unexpected keyword argument 'cuont'"):
        verb("x", cuont=1)
    with pytest.raises(TypeError, match=r"verb\(\) missing 1 required positional argument: 'bundle'"):
        verb()


def test_a_bundle_may_be_given_by_its_name(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is not a bundle"):
        attn2trt.validate_bundle(bundle=tmp_path)


@checked
def read(path: str) -> str:
    return Path(path).read_text()


def test_an_error_of_the_system_is_one_of_the_package(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=f"^reading or writing failed at {tmp_path}/none: No such file") as caught:
        read(tmp_path / "none")
    assert isinstance(caught.value.__cause__, FileNotFoundError)
    with pytest.raises(InputError, match=r"^received x+… \(File name too long\); expected names of at most 255 bytes"):
        read("x" * 300)


def test_inside_of_a_function_of_the_package_it_stays_what_it_is(tmp_path: Path) -> None:
    @checked
    def or_nothing(path: str) -> str:
        try:
            return read(path)
        except FileNotFoundError:
            return ""

    assert or_nothing(tmp_path / "none") == ""


def test_memory_that_ran_out_stays_what_it_is() -> None:
    @checked
    def fill() -> None:
        raise OSError(errno.ENOMEM, "Cannot allocate memory")

    with pytest.raises(OSError, match="Cannot allocate memory"):
        fill()


@pytest.mark.parametrize("seed", [-1, 2**63])
def test_a_seed_that_no_generator_takes_is_one_line(seed: int) -> None:
    for make in (lambda: attn2trt.Weights(seed=seed), lambda: attn2trt.build("se", seed=seed)):
        with pytest.raises(InputError, match=rf"^received seed {seed}; expected a whole number from 0 to 2\^63 - 1"):
            make()


def test_what_is_no_module_is_shown_in_one_line() -> None:
    with pytest.raises(InputError, match=r"^received OrderedDict\(.* of type OrderedDict; expected a torch") as caught:
        attn2trt.deploy(nn.Linear(8, 8).state_dict(), torch.zeros(1, 8))  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)
