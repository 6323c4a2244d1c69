"""What the child process of simplify.py runs."""

from __future__ import annotations

import contextlib
import io
import json
import sys


def main() -> None:
    """Read [source, destination] from stdin as JSON, and write the simplified source to the destination.

    Any failure ends the process with a traceback on stderr.
    """
    # onnxsim looks for PyTorch, uses none of it to simplify, and would spend more time on loading it than on the graph.
    sys.modules["torch"] = None  # type: ignore[assignment]

    import onnx
    from onnxsim import simplify

    source, destination = json.loads(sys.stdin.read())
    with contextlib.redirect_stdout(io.StringIO()):
        model, _ = simplify(onnx.load(source))
    onnx.save(model, destination)
