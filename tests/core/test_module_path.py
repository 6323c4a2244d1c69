"""A module's path among others: itself, its parts, a longer name that only begins alike, and the whole model."""

from __future__ import annotations

from attn2trt.core.module_path import is_part, is_part_of_any, is_within


def test_a_module_is_part_of_itself_its_parents_and_the_model() -> None:
    paths = ("a.b.c", "a.b", "a.bc", "a", "")
    assert [is_part(path, "a.b") for path in paths] == [True, True, False, False, False]
    assert all(is_part(path, "") for path in paths)
    assert [is_part_of_any(path, ["b", "a.b"]) for path in paths] == [True, True, False, False, False]
    assert is_part_of_any("anything", [""])
    assert not is_part_of_any("a", [])


def test_what_the_model_itself_computes_is_within_no_part_and_no_part_within_it() -> None:
    assert [is_within(path, ["block"]) for path in ("block.conv2", "block", "blocks", "")] == [True, True, False, False]
    assert [is_within(path, [""]) for path in ("block", "")] == [False, True]
    assert is_within("", ["", "block"])
    assert not is_within("block", [])
