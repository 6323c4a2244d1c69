"""The program of simplify.py's child process."""

from __future__ import annotations

import os
import sys

from ..core.channel import claim_stdout, receive, send
from .passes.cancelled_scales import cancel_scales
from .passes.padded_maxima import keep_padding_apart
from .passes.unit_transposes import reshape_unit_transposes

# Queries, keys and values as one product belong to no module, and what int8 loses in it cannot be measured in PyTorch.
# Nor can it in a convolution whose weight has a factor of what it reads, or another product.
# Attention as one operator of com.microsoft runs in ONNX Runtime alone.
_SKIPPED = ("fuse_qkv", "fuse_preceding_mul_into_conv", "fuse_matmul_into_conv", "fuse_attention", "fuse_gqa")


def main() -> None:
    """Read a source and a destination from stdin, write the simplified source to the destination, and say so.

    Any failure ends the process with a traceback on stderr.
    """
    answers = os.fdopen(claim_stdout(), "wb")
    # onnxsim looks for PyTorch and SymPy, uses neither to simplify, and would spend more time on loading them than on
    # the graph.
    sys.modules.update(dict.fromkeys(("torch", "sympy")))  # type: ignore[arg-type]
    import onnxsim  # noqa: F401 - before the message is there

    message = receive(sys.stdin.buffer)
    if message is None:
        return
    write_simplified(message[0]["source"], message[0]["destination"])
    send(answers, {})


def write_simplified(source: str, destination: str) -> None:
    """Write the simplified graph of ``source`` to ``destination``."""
    import onnx
    from onnxsim import simplify

    model = onnx.load(source)
    keep_padding_apart(model)
    model, _ = simplify(model, skipped_optimizers=[*_SKIPPED])
    cancel_scales(model)
    reshape_unit_transposes(model)
    onnx.save(model, destination)
