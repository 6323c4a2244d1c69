"""An exception of the user's code in words: its type, its reason, the line that raised it, and what to change there."""

from __future__ import annotations

import re

from .user_line import line_of_error

SHOWN = 300
_OF_VALUES = r"[Dd]ata-dependent|DataDependent"
# What an exception of PyTorch's says, and what the user does about it.
_REMEDIES = {
    r'missing the required "forward" function': (
        "what is called there has no forward: write one, or call the modules in it one by one"
    ),
    r"shape '\[.*\]' is invalid for input of size": (
        "a size is written into that line that is not the input's, or does not divide it: take it from x.shape, or "
        "change --shape or --dynamic"
    ),
    r"NVIDIA driver|not compiled with|No CUDA|CUDA|same device|device type|accelerator|\bmps\b": (
        "a device is written into that line; take it from an input, as device=x.device"
    ),
    r"[Ii]nference tensor": "its tensors were made in torch.inference_mode(); make the module outside of that block",
    r"\.numpy\(\)|numpy\.|NumPy|__array__": "compute it with torch in place of NumPy",
    r"UnsupportedOperator|fake impl|Meta implementation": "write it with operators that torch.export knows",
    _OF_VALUES: (
        "a graph has one way for all values: compute both sides of a branch and pick by torch.where, "
        "let a loop run a fixed number of times, and keep what a mask leaves out as zeros"
    ),
    r"fake tensor in the exported program": (
        "forward puts a tensor into a weight, a buffer or an attribute, as weight.data = …; do that once, in __init__"
    ),
    r"vmap|functorch": "compute it without torch.func transforms in forward",
}
# What torch.export says of its symbols, which no user has written.
_IN_WORDS = {
    "Could not guard on data-dependent expression": "a branch, a loop or a check depends on the values of a tensor",
    "Could not extract specialized integer from data-dependent": "a number of Python, as a size or how often a loop "
    "runs, depends on the values of a tensor",
}
# Files of libraries whose lines no user mends, and what he does instead.
_OF_LIBRARIES = {
    "torchvision/ops/boxes.py": (
        "a suppression of overlaps gives as many boxes as the values say: deploy the detector as torchvision:NAME, up "
        "to its heads, or your own module without it, and suppress behind the engine"
    ),
}


def raised(error: BaseException) -> str:
    """Return ``error`` as one line: type, first line of its reason, and the user's line that raised it, if any.

    What torch.export says of its own symbols is said in words.
    """
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    line = line_of_error(error)
    reason = f"{type(error).__name__}: {lines[0][:SHOWN] if lines else 'no reason given'}"
    plain = next((words for said, words in _IN_WORDS.items() if lines and said in lines[0]), reason)
    return f"{plain}{f' at {line}' if line else ''}"


def remedy(error: BaseException, otherwise: str) -> str:
    """Return what the user changes so that ``error`` is not raised again; ``otherwise`` if its reason is unknown."""
    words, line = f"{type(error).__name__}: {error}", line_of_error(error)
    if found := next((advice for file, advice in _OF_LIBRARIES.items() if f"{file}:" in line), ""):
        return found
    if re.search(_OF_VALUES, words) and re.search(r"\bassert\b|_assert\(|_check\w*\(|\braise\b", line):
        return "a graph raises no error: take the check out of forward, or skip it if torch.compiler.is_exporting()"
    return next((advice for reason, advice in _REMEDIES.items() if re.search(reason, words)), otherwise)
