"""The stored results of a benchmark: their heading, and how they are written together with their page."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Mapping
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import Any


def heading(*packages: str) -> dict[str, Any]:
    """Return the date, the machine and the versions of the packages that the results depend on."""
    return {
        "date": date.today().isoformat(),
        "machine": f"{platform.machine()}, {platform.system()}, {os.cpu_count()} cores, CPU only",
        "versions": {name: version(name) for name in packages},
    }


def store(document: Mapping[str, Any], results: Path, page: Path, text: str) -> None:
    """Write the results and their page. Do it after every row: an interrupted run then keeps what it measured."""
    results.parent.mkdir(exist_ok=True)
    results.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    page.write_text(text, encoding="utf-8")
