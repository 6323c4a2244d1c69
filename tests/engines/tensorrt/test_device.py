"""Without a GPU every way to TensorRT ends in one line and never in a dead process."""

from __future__ import annotations

from pathlib import Path

import pytest

from attn2trt.engines.environment import ask_driver
from attn2trt.engines.tensorrt.build import BuildOrder
from attn2trt.engines.tensorrt.build_child import PATHS
from attn2trt.engines.tensorrt.device import Device
from attn2trt.engines.tensorrt.isolated import build_isolated
from attn2trt.errors import MissingRequirement

pytestmark = pytest.mark.skipif(bool(ask_driver().devices), reason="there is a GPU here")


def test_a_device_that_is_not_there_is_named() -> None:
    with pytest.raises(MissingRequirement, match="NVIDIA"):
        Device()


def test_the_child_reports_the_same_error(tmp_path: Path) -> None:
    order = BuildOrder(**{name: tmp_path / name for name in PATHS}, inputs=(), profiles=())
    with pytest.raises(MissingRequirement, match="NVIDIA"):
        build_isolated(order)
    assert list(tmp_path.iterdir()) == []
