"""What the child process of simplify.py runs."""

from __future__ import annotations

import contextlib
import io
import sys


def main(source: str, destination: str) -> None:
    """Simplify ``source`` into ``destination``; any failure ends the process with a traceback on stderr."""
    # onnxsim looks for PyTorch, uses none of it to simplify, and would spend more time on loading it than on the graph.
    sys.modules["torch"] = None  # type: ignore[assignment]

    import onnx
    from onnxsim import simplify

    with contextlib.redirect_stdout(io.StringIO()):
        model, _ = simplify(onnx.load(source))
    onnx.save(model, destination)
