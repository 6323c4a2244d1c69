"""A line of the user's is found below torch and above this package."""

from __future__ import annotations

import pytest
import torch

from attn2trt.modules.user_line import frames, is_users, line_of, line_of_error


def test_the_line_of_an_error_is_the_users() -> None:
    with pytest.raises(RuntimeError) as caught:
        torch.zeros(2).view(3)
    line = line_of_error(caught.value)
    assert "test_user_line.py:" in line
    assert line.endswith("`torch.zeros(2).view(3)`")


def test_the_line_that_runs_is_the_innermost_of_the_users() -> None:
    found = line_of(frames())
    assert "test_user_line.py:" in found
    assert found.endswith("`found = line_of(frames())`")


def test_torch_python_and_the_rooms_are_not_the_users() -> None:
    import random

    from attn2trt.cli import guard
    from attn2trt.core import arguments
    from attn2trt.engines import child
    from attn2trt.report import page
    from attn2trt.validate import eager

    ours = [module.__file__ for module in (guard, arguments, child, page, eager)]
    assert not any(map(is_users, (torch.__file__, random.__file__, "<string>", *ours)))
    assert is_users(__file__)
