"""A file of another tool, and the size of its images."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

SIZE = 64


@dataclass(frozen=True)
class Foreign:
    """A file of another tool: the model, the tool that wrote it, and what ``check_model`` needs to know."""

    model: str
    tool: str
    write: Callable[[Path], None]
    options: dict[str, Any] = field(default_factory=dict)
