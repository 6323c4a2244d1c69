"""Cells and lines of the tables on pages about GPUs."""

from __future__ import annotations

LONGEST = 60


def table_line(*texts: str) -> str:
    """Return a line of a table; a bar within a text would end its cell."""
    return f"| {' | '.join(text.replace('|', '/') for text in texts)} |"


def short(text: str) -> str:
    """Return the beginning of a text, "-" for none."""
    return (text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…") or "-"


def ms_text(value: float | None) -> str:
    """Return milliseconds to a tenth of a microsecond, "-" for none."""
    return "-" if value is None else f"{value:.4f}"
