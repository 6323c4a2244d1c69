"""``attn2trt verify``: is a bundle on disk what was written."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click

from .options import bundle_argument, output_options
from .output import print_json, print_rich


@click.command("verify")
@bundle_argument
@output_options
def command(bundle: Path, as_json: bool) -> int:
    """Compare the files of BUNDLE with their hashes, and load it.

    The hashes in the manifest prove integrity, not authorship. Every graph is loaded in ONNX Runtime.
    """
    from ..workflows.verify import verify_bundle

    findings = verify_bundle(bundle)
    passed = bool(findings)
    if as_json:
        listed = [asdict(finding) for finding in findings]
        print_json({"path": str(bundle), "passed": passed, "findings": listed})
        return 0 if passed else 1
    from rich.table import Table
    from rich.text import Text

    table = Table("file", "", "detail")
    for finding in findings:
        mark = Text("ok", style="green") if finding.ok else Text("FAILED", style="bold red")
        table.add_row(Text(finding.file), mark, Text(finding.detail))
    print_rich(table)
    return 0 if passed else 1
