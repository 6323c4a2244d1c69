"""Write into the README what its first command prints, by running it in an empty folder, and what a failure looks like.

``python docs/generate_readme.py`` replaces what stands between the markers; it ends with an error if the command fails.
The failure is the first one of docs/howto/find_the_layer.md.
"""

from __future__ import annotations

import itertools
import os
import re
import subprocess
import sys
import tempfile
import textwrap
from pathlib import Path

README = Path(__file__).resolve().parents[1] / "README.md"
FAILURE = README.parent / "docs/howto/find_the_layer.md"
COMMAND = ("deploy", "resnet50+cbam")
OUTPUT, FAILED, END = r"(<!-- the output of [^>]*-->\n)", r"(<!-- the first failed [^>]*-->\n)", r"(<!-- end -->)"
WIDTH = 118


def output() -> str:
    """Return what the command prints on a terminal of WIDTH columns, as far as its verdict."""
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
    table, verdict, _ = re.split(r"^(PASSED: .*)$", ran.stdout, maxsplit=1, flags=re.MULTILINE)
    return f"{table.strip()}\n{verdict}\n…"


def failure(page: str) -> str:
    """Return the first failed stage of a page's table, with its name, in lines of WIDTH columns."""
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in page.splitlines() if line.startswith("│")]
    first = next(number for number, (_, result, _) in enumerate(rows) if result == "failed")
    stage, words = rows[first][0], [rows[first][2]]
    words += [found for _, _, found in itertools.takewhile(lambda row: not row[0], rows[first + 1 :])]
    return textwrap.fill(f"{stage}  failed  {' '.join(words)}", WIDTH, subsequent_indent="  ", break_on_hyphens=False)


def with_text(readme: str, begin: str, text: str) -> str:
    """Return the README with ``text`` between the markers that begin so."""
    replaced, count = re.subn(
        f"{begin}.*?{END}", lambda found: f"{found[1]}```text\n{text}\n```\n{found[2]}", readme, flags=re.DOTALL
    )
    if count != 1:
        raise SystemExit(f"{README} has {count} places for {begin}; expected one")
    return replaced


if __name__ == "__main__":
    readme = with_text(README.read_text(encoding="utf-8"), FAILED, failure(FAILURE.read_text(encoding="utf-8")))
    README.write_text(with_text(readme, OUTPUT, output()), encoding="utf-8")
    print(README)
