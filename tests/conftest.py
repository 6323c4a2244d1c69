"""Before anything imports NumPy or PyTorch: the test processes share the cores, so that each computes with one."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(autouse=True, scope="session")
def _processors_that_stay_near() -> Iterator[None]:
    """Keep the number of timed rounds apart from where a host puts its processors, in fixtures of modules as well."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("attn2trt.engines.timing.core_latency.core_latency_us", lambda: 9.0)
        yield
