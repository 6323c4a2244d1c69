"""The program of modelopt_placement.py's child process: nvidia-modelopt loads PyTorch, prints, and sets up logging."""

from __future__ import annotations

import os
import sys

from ..core.channel import claim_stdout, receive, send


def main() -> None:
    """Read a source, a destination and a file of inputs from stdin, write modelopt's graph there, and say so.

    Any failure ends the process with a traceback on stderr.
    """
    answers = os.fdopen(claim_stdout(), "wb")
    message = receive(sys.stdin.buffer)
    if message is None:
        return
    import numpy as np
    from modelopt.onnx.quantization import quantize

    with np.load(message[0]["inputs"]) as file:
        feeds = {name: file[name] for name in file.files}
    quantize(
        message[0]["source"],
        quantize_mode="int8",
        calibration_data=feeds,
        calibration_method="max",
        calibration_eps=["cpu"],
        output_path=message[0]["destination"],
        high_precision_dtype="fp16",
    )
    send(answers, {})
