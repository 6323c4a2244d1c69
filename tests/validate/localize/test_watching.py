"""Values are looked at in groups that fit, and without hiding what is looked for."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from attn2trt.validate.arrays import Arrays
from attn2trt.validate.localize.watching import passes, watch


@pytest.mark.parametrize(
    ("sizes", "groups"),
    [([], []), ([9, 9], [[9], [9]]), ([1, 2, 3, 4], [[1, 2, 3], [4]]), ([1, 9, 1], [[1, 9], [1]])],
)
def test_a_group_ends_with_the_item_that_goes_over_the_limit(sizes: list[int], groups: list[list[int]]) -> None:
    assert list(passes(sizes, lambda size: size, limit=5)) == groups


@pytest.mark.parametrize("hiding", [set(), {"a"}, {"c", "d"}, {"a", "b", "c", "d", "e"}])
def test_values_that_hide_the_error_are_found_and_left_out(hiding: set[str]) -> None:
    def run(names: Sequence[str]) -> Arrays:
        error = 0.0 if hiding & set(names) else 1.0
        return {"output": np.full(1, error), **{name: np.zeros(1) for name in names}}

    values, found = watch("abcde", run, lambda outputs: bool(outputs["output"].any()))
    assert found == hiding
    assert values.keys() == set("abcde") - hiding


def test_values_that_hide_the_error_only_together_are_all_seen() -> None:
    values, found = watch(
        ["a", "b"], lambda names: {name: np.full(1, len(names)) for name in names}, lambda found: len(found) == 1
    )
    assert not found
    assert {name: value.item() for name, value in values.items()} == {"a": 1, "b": 1}
