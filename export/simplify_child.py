"""What the child process of simplify.py runs."""

from __future__ import annotations

import contextlib
import io


def main(source: str, destination: str) -> None:
    """Simplify ``source`` into ``destination``; any failure ends the process with a traceback on stderr."""
    import onnx
    from onnxsim import simplify

    with contextlib.redirect_stdout(io.StringIO()):
        model, _ = simplify(onnx.load(source))
    onnx.save(model, destination)
