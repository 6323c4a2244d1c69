"""Before anything imports NumPy or PyTorch: the test processes share the cores, so that each computes with one."""

from __future__ import annotations

import functools
import gc
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from interruptible import take_signals

from attn2trt.cli.guard import COLLECT_AFTER

ROOT = Path(__file__).resolve().parents[1]
os.environ.setdefault("OMP_NUM_THREADS", "1")
# As the command line does: Python's own numbers search for cycles for a sixth of the time of all tests.
gc.set_threshold(*COLLECT_AFTER)
take_signals()


class _RootIsAFolder:
    """Collect the root as a folder: pytest imports a package by its folder's name, and a clone may have any name."""

    @staticmethod
    def pytest_collect_directory(path: Path, parent: pytest.Collector) -> pytest.Collector | None:
        """Return the collector of the root; None for every other folder."""
        return pytest.Dir.from_parent(parent, path=path) if path == ROOT else None


def pytest_configure(config: pytest.Config) -> None:
    """Register what a conftest file is not asked about: the folder above it."""
    config.pluginmanager.register(_RootIsAFolder())


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip what needs TensorRT for RTX if it is not usable here."""
    if item.get_closest_marker("tensorrt") is not None:
        from attn2trt.engines.environment import probe_rtx

        found = probe_rtx()
        if found.status != "usable":
            pytest.skip(f"TensorRT for RTX is {found.status} here: {found.detail}; {found.fix}")


@pytest.fixture(autouse=True, scope="session")
def _processors_that_stay_near() -> Iterator[None]:
    """Make the number of timed rounds independent of the host's cores, in fixtures of modules as well."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("attn2trt.engines.timing.core_latency.core_latency_us", lambda: 9.0)
        yield


@pytest.fixture(autouse=True, scope="session")
def _operators_named_once() -> Iterator[None]:
    """Have torch.export, if a test imports it, look up every operator's name at the first export and not at each."""
    name = "_materialize_cpp_cia_ops"
    exporting = sys.modules.get("torch._export.utils")
    with pytest.MonkeyPatch.context() as patch:
        if hasattr(exporting, name):
            patch.setattr(exporting, name, functools.cache(getattr(exporting, name)))
        yield


@pytest.fixture(autouse=True, scope="session")
def _graphs_here() -> Iterator[None]:
    """Simplify, judge and time graphs in this process; ``real_workers`` has a test do it as users do."""
    from in_this_process import IN_A_PROCESS, EvaluatorHere, RuntimeHere, SimplifierHere, TimedHere

    from attn2trt.validate.onnx_reference.isolated import IsolatedEvaluator

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("attn2trt.validate.stages.ort_process.IsolatedRuntime", RuntimeHere)
        patch.setattr("attn2trt.export.simplify.Worker", SimplifierHere)
        patch.setattr("attn2trt.engines.timing.timed_run.TimedProcess", TimedHere)
        for name in IN_A_PROCESS:
            patch.setattr(IsolatedEvaluator, name, getattr(EvaluatorHere, name))
        # it collects garbage, which takes a second in a process that has imported PyTorch
        patch.setattr("attn2trt.engines.timing.timed_process_child.start_peak", lambda: False)
        yield
