"""Draw the page of a bundle, as docs/report.md shows it: ``python docs/generate_report.py [BUNDLE]``, with Chromium.

Without BUNDLE, resnet50+cbam is deployed in float32, float16 and int8, which takes minutes.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from importlib import import_module
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PICTURE = ROOT / "docs" / "report.png"
WIDTH, HEIGHT = 1200, 900


def main() -> None:
    sys.path.insert(0, str(ROOT / "tests"))
    browser = import_module("browser")

    if browser.FOUND is None:
        sys.exit("no Chromium here; apt-get install chromium")
    with tempfile.TemporaryDirectory() as name, browser.browser(Path(name)) as page:
        bundle = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(name) / "resnet50+cbam"
        if not bundle.is_dir():
            line = ["attn2trt", "deploy", "resnet50+cbam", "--precision", "fp32,fp16,int8", "-o", str(bundle)]
            subprocess.run(line, check=True)
        page.open(bundle / "report.html", width=WIDTH, height=HEIGHT)
        page.picture(PICTURE, whole=False)


if __name__ == "__main__":
    main()
