"""The child process of simplify.py: ``python -m attn2trt.export.simplify_child IN.onnx OUT.onnx``."""

from __future__ import annotations

import contextlib
import io
import sys


def main(source: str, destination: str) -> None:
    """Simplify ``source`` into ``destination``; any failure ends the process with a traceback on stderr."""
    import onnx
    from onnxsim import simplify

    with contextlib.redirect_stdout(io.StringIO()):
        model, _ = simplify(onnx.load(source))
    onnx.save(model, destination)


if __name__ == "__main__":
    main(*sys.argv[1:])
