"""A place is written down with what was compared on the way to it, and read again."""

from __future__ import annotations

import json
import math

import pytest

from attn2trt.validate.place import Boundary, Place


def test_a_place_is_read_again() -> None:
    boundaries = (Boundary("", "enter", 0.0, "right"), Boundary("a b.c", "leave", math.inf, "wrong"))
    place = Place("a b.c", "Gate", "net.py:3", "n0", "Mul", boundaries)
    assert Place.from_json(json.loads(json.dumps(place.to_json(), allow_nan=False))) == place


@pytest.mark.parametrize("line", ["", "leave right", "in right 1 a", "leave good 1 a", "leave right x a"])
def test_what_is_no_boundary_is_refused(line: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        Place.from_json({**Place("a").to_json(), "boundaries": [line]})
