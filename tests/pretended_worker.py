"""Workers that are processes of their own, which the default run has few of, and other code in place of theirs."""

from __future__ import annotations

import sys

import pytest
from in_this_process import IN_A_PROCESS

from attn2trt.core.worker import Worker
from attn2trt.engines.isolated import IsolatedRuntime
from attn2trt.engines.timing.timed_process import TimedProcess
from attn2trt.validate.onnx_reference.isolated import IsolatedEvaluator


def real_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Simplify, judge and time graphs in processes of their own, as users do."""
    monkeypatch.setattr("attn2trt.validate.stages.ort_process.IsolatedRuntime", IsolatedRuntime)
    monkeypatch.setattr("attn2trt.export.simplify.Worker", Worker)
    monkeypatch.setattr("attn2trt.engines.timing.timed_run.TimedProcess", TimedProcess)
    for name, method in IN_A_PROCESS.items():
        monkeypatch.setattr(IsolatedEvaluator, name, method)


def pretend(monkeypatch: pytest.MonkeyPatch, code: str) -> None:
    """Have every worker that starts from here on run ``code``, that of the simplifier among them."""
    monkeypatch.setattr("attn2trt.export.simplify.Worker", Worker)
    monkeypatch.setattr("attn2trt.core.processes.command", lambda *_: [sys.executable, "-c", code])
