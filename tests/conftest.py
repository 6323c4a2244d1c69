"""Before anything imports NumPy or PyTorch: the test processes share the cores, so that each computes with one."""

from __future__ import annotations

import os

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(autouse=True)
def _processors_that_stay_near(monkeypatch: pytest.MonkeyPatch) -> None:
    """How many rounds are timed must not depend on where a host puts its processors while tests run."""
    monkeypatch.setattr("attn2trt.engines.timing.placement.handover_us", lambda: 9.0)
