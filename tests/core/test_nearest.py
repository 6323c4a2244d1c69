"""The names that an error suggests."""

from __future__ import annotations

import pytest

from attn2trt.core.nearest import nearest


@pytest.mark.parametrize(("name", "first"), [("gates", "gate or Gate"), ("Gates", "Gate or gate")])
@pytest.mark.parametrize("names", [("gate", "Gate"), ("Gate", "gate")])
def test_of_names_that_differ_in_capitals_the_nearest_is_first(name: str, first: str, names: tuple[str, str]) -> None:
    assert nearest(name, names, "") == f"did you mean {first}?"
