"""The program of isolated.py's child process.

It holds one ONNX Runtime session of the model that the first message names, reads feeds from stdin and writes outputs
to stdout until stdin ends.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

from ..core.channel import failure
from ..core.graph import has_weights_beside
from .channel import receive, send
from .child import answers, serve
from .float32_kernels import float32_kernels
from .ort_runtime import OrtRuntime, import_onnxruntime
from .tf32_kernels import tf32_kernels

# what the operators of a graph are run on, by the name that isolated.py gives it
KERNELS: dict[str, Callable[[Path], Path | bytes]] = {
    "own": lambda path: path,
    "half": float32_kernels,
    "tf32": tf32_kernels,
}


def main(options: str) -> None:
    """Answer every message until the parent closes the channel."""
    stream = answers()
    try:
        import_onnxruntime()  # it takes its time, and the model may not have been made yet
        message = receive(sys.stdin.buffer)
        if message is None:
            return
        path, given = Path(message[0]["model"]), json.loads(options)
        model = KERNELS[given.pop("kernels")](path)
        # weights beside the graph are mapped from their file, once for all processes that judge it
        runtime = OrtRuntime(model, spinning=False, packs_weights=not has_weights_beside(path), **given)
    except Exception as error:
        send(stream, failure(error))
        return
    send(stream, {"name": runtime.name, "output_names": runtime.output_names})
    serve(runtime, stream)
