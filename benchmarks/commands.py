"""attn2trt's commands as a user runs them, each in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any


def run(*words: str) -> str:
    """What a command prints; its one line of error ends this process."""
    ran = subprocess.run([sys.executable, "-m", "attn2trt", *words], capture_output=True, text=True, check=False)
    if ran.returncode:
        raise SystemExit(f"attn2trt {' '.join(words)}: {ran.stderr.strip() or ran.stdout.strip()[-400:]}")
    return ran.stdout


def run_json(*words: str) -> Any:
    """The document that a command prints with ``--json``."""
    return json.loads(run(*words, "--json"))
