"""Options that other tools have, as trtexec, Ultralytics, timm and onnxsim, and what to write in place of each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

_PYTORCH = ("deploy", "export", "check", "benchmark", "cost")
_GRAPHS = ("deploy", "export", "check", "compile", "tune")
_RANGES = "--dynamic batch=1:8:32 (smallest, usual and largest; the same for height and width)"


class Row(NamedTuple):
    """Names of other tools, and by what is written in their place the commands that take it, the usual one first."""

    names: Sequence[str]
    answers: Mapping[str, Sequence[str]]


# In small letters, with - for _.
ROWS = (
    Row(
        ("--imgsz", "--img-size", "--image-size", "--input-size", "--input-shape"),
        {"--shape 1x3x640x640 (batch, channels, height and width)": _PYTORCH},
    ),
    Row(
        ("--batch", "--batch-size"),
        {
            "--dynamic batch=1:8:32 (smallest, usual and largest)": _PYTORCH[:3],
            "--batch 1,8": ("benchmark",),
            "--shape 8x3x224x224, the batch first": ("cost",),
            "--at batch=8": ("tune",),
            "--profile batch=1:8:32": ("compile",),
        },
    ),
    Row(("--half", "--fp16"), {"--precision fp16": _GRAPHS}),
    Row(("--bf16",), {"--precision bf16": _GRAPHS}),
    Row(
        ("--int8",),
        {"--precision int8 --calibrate FOLDER, with photographs": _GRAPHS[:3], "--precision int8": _GRAPHS[3:]},
    ),
    Row(("--workspace",), {"--workspace 4096, in MiB": ("compile", "tune")}),
    Row(
        ("--output", "--output-dir"),
        {"-o PATH": ("deploy", "export", "benchmark", "cost", "sweep", "report", "triton", "programs", "plugin")},
    ),
    Row(
        ("--minshapes", "--optshapes", "--maxshapes"),
        {_RANGES: _PYTORCH[:3], "--profile batch=1:8:32": ("compile", "tune")},
    ),
    Row(("--dynamic-axes",), {_RANGES: _PYTORCH[:3]}),
    Row(("--weights", "--ckpt"), {"--checkpoint FILE": _PYTORCH}),
    Row(
        ("--tolerance", "--atol", "--rtol"),
        {
            "--max-error NUMBER, the relative L2 error (left out: the limit of each precision)": (
                "deploy",
                "check",
                "validate",
            )
        },
    ),
)
# What is done without an option.
_QUIET = "leave it out: stdout has the result alone; how far the work is goes to stderr"
ALWAYS = {
    "--simplify": "leave it out: deploy and export simplify every graph",
    **dict.fromkeys(("-q", "--quiet", "--silent"), _QUIET),
}


def advice(option: str, command: str) -> str:
    """Return what to write in a ``command`` for another tool's ``option``; "" if the name is not known."""
    name = option.lower().replace("_", "-")
    answers = next((row.answers for row in ROWS if name in row.names), None)
    if answers is None:
        return ALWAYS.get(name, "")
    for instead, commands in answers.items():
        if command in commands:
            return f"write {instead}"
    instead, commands = next(iter(answers.items()))
    return f"attn2trt {commands[0]} takes {instead}"
