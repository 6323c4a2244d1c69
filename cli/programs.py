"""``attn2trt programs``: a bundle in C++."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click

from .options import bundle_argument, output_options
from .output import print_json, print_lines, print_note
from .parameters import PATH


@click.command("programs")
@bundle_argument
@click.option("-o", "--out", type=PATH, required=True, metavar="DIR", help="A folder that is not there, or empty.")
@output_options
def command(bundle: Path, out: Path, as_json: bool) -> None:
    """Write C++ programs that run BUNDLE on a recorded input.

    One is for ONNX Runtime, one for TensorRT. They read the bundle's folder and need no library beside the runtime. The
    bundle's infer.py does the same in Python.
    """
    from ..workflows.programs import write_programs

    written = write_programs(bundle, out)
    if not written.passed:
        print_note(f"no verdict passed {bundle}: what the programs run computes something else, or is unchecked")
    if as_json:
        print_json({**asdict(written), "path": str(out)})
        return
    lines = [f"programs {out}", *(f"         {name}" for name in written.files), f"build    {written.build}"]
    lines += [f"run      {line}" for line in written.run]
    lines += ["         infer_trt has been built on a machine with a GPU, and has run no plan so far"]
    print_lines("\n".join(lines))
