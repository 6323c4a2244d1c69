"""What the child process of isolated.py runs.

It holds one ONNX Runtime session, reads feeds from stdin and writes outputs to stdout until stdin ends.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..errors import Attn2trtError
from .channel import receive, send
from .ort_runtime import OrtRuntime


def main(path: str, options: str) -> None:
    """Answer every message until the parent closes the channel."""
    # Whatever native code prints must not mix with the answers.
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    try:
        runtime = OrtRuntime(Path(path), spinning=False, **json.loads(options))
    except Exception as error:
        send(answers, _failure(error))
        return
    send(answers, {"name": runtime.name, "output_names": runtime.output_names})
    with runtime:
        while (message := receive(sys.stdin.buffer)) is not None:
            try:
                outputs = runtime.run(message[1])
            except Exception as error:
                send(answers, _failure(error))
            else:
                send(answers, {}, outputs)


def _failure(error: Exception) -> Mapping[str, Any]:
    kind = type(error).__name__ if isinstance(error, Attn2trtError) else ""
    text = str(error) if kind else f"{type(error).__name__}: {error}"
    return {"error": " ".join(text.split()), "kind": kind}
