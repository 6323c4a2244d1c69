"""A table of rich as a terminal of some width prints it, and one row of it."""

from __future__ import annotations

import io

from rich.console import Console, RenderableType


def printed(table: RenderableType, width: int = 200) -> str:
    out = io.StringIO()
    Console(file=out, width=width).print(table)
    return out.getvalue()


def row(text: str, first: str) -> list[str]:
    """Return the cells of the only row whose first cell begins so."""
    (line,) = (line for line in text.splitlines() if line.startswith(f"│ {first} "))
    return [cell.strip() for cell in line.strip("│").split("│")]
