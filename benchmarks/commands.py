"""attn2trt's commands as a user runs them, each in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any


def run(*words: str, folder: Path | None = None) -> str:
    """Return what a command prints, run in ``folder``; its one line of error ends this process."""
    command = [sys.executable, "-m", "attn2trt", *words]
    ran = subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder)
    if ran.returncode:
        raise SystemExit(f"attn2trt {' '.join(words)}: {ran.stderr.strip() or ran.stdout.strip()[-400:]}")
    return ran.stdout


def run_json(*words: str) -> Any:
    """The document that a command prints with ``--json``."""
    return json.loads(run(*words, "--json"))
