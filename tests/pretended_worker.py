"""Other code in place of what a worker runs."""

from __future__ import annotations

import sys

import pytest


def pretend(monkeypatch: pytest.MonkeyPatch, code: str) -> None:
    """Have every worker that starts from here on run ``code``."""
    monkeypatch.setattr("attn2trt.core.processes.command", lambda *_: [sys.executable, "-c", code])
