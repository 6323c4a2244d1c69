"""Write the output of the README's first command into the README, by running it in an empty folder.

``python docs/generate_readme.py`` replaces what stands between the markers; it ends with an error if the command fails.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

README = Path(__file__).resolve().parents[1] / "README.md"
COMMAND = ("deploy", "resnet50+cbam")
BEGIN, END = r"(<!-- the output of [^>]*-->\n)", r"(<!-- end -->)"
WIDTH = 118


def output() -> str:
    """Return what the command prints on a terminal of WIDTH columns."""
    environment = {**os.environ, "COLUMNS": str(WIDTH), "TERM": "dumb", "PYTHONIOENCODING": "utf-8"}
    with tempfile.TemporaryDirectory() as folder:
        ran = subprocess.run(
            [sys.executable, "-m", "attn2trt", *COMMAND],
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
            encoding="utf-8",
            check=False,
        )
    if ran.returncode:
        raise SystemExit(f"attn2trt {' '.join(COMMAND)} ended with {ran.returncode}\n{ran.stderr}{ran.stdout}")
    return "\n".join(line.rstrip() for line in ran.stdout.strip().splitlines())


def with_output(readme: str, text: str) -> str:
    """Return the README with ``text`` between its markers."""
    replaced, count = re.subn(
        f"{BEGIN}.*?{END}", lambda found: f"{found[1]}```text\n{text}\n```\n{found[2]}", readme, flags=re.DOTALL
    )
    if count != 1:
        raise SystemExit(f"{README} has {count} places for the output; expected one")
    return replaced


if __name__ == "__main__":
    README.write_text(with_output(README.read_text(encoding="utf-8"), output()), encoding="utf-8")
    print(README)
