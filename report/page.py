"""Bundles as one HTML page that needs nothing else: no script, no network, every drawing an SVG with its table.

The drawings are bars, a grid and lines across them, which the template writes itself. Matplotlib would take longer to
import and to draw them than everything else here: a bundle gets its page while ``deploy`` waits.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from ..core.bundle import Bundle
from .bundle_view import BundleView, bundle_view
from .overview import overview

if TYPE_CHECKING:
    from jinja2 import Template

TEMPLATES = Path(__file__).parent / "templates"
# What a page must hold to be one of ours.
MARK = '<meta name="generator" content="attn2trt report">'


def page(bundles: Sequence[Bundle], *, shown: Sequence[Path] = ()) -> str:
    """Return the page of one bundle, or of several beside each other.

    Args:
        bundles: One or more.
        shown: The path of each as the user writes it; by default the one it was opened by.

    Raises:
        InputError: An entry of a manifest cannot be read.
    """
    paths = shown or [bundle.path for bundle in bundles]
    views = [
        bundle_view(bundle, path, number=number)
        for number, (bundle, path) in enumerate(zip(bundles, paths, strict=True), start=1)
    ]
    style = (TEMPLATES / "style.css").read_text(encoding="utf-8")
    return _template().render(
        title=_title(views), bundles=views, overview=overview(views), style=style, style_hash=_hash(style), mark=MARK
    )


@lru_cache(maxsize=1)
def _template() -> Template:
    """Return the template, compiled once: that takes longer than a page."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("page.html")


def _title(views: Sequence[BundleView]) -> str:
    return views[0].name if len(views) == 1 else f"{len(views)} bundles: {', '.join(view.name for view in views)}"


def _hash(style: str) -> str:
    """Return the hash by which the page allows its one style sheet and no other."""
    return f"sha256-{base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()}"
