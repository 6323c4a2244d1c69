"""The folder of a bundle to be made."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from ..core.bundle import Bundle
from ..core.bundle_writer import recover
from ..core.destination import check_destination
from ..modules.target import Target, file_name

if TYPE_CHECKING:
    from torch import nn

DEFAULT_FOLDER = Path("bundles")


class Place:
    """The bundle's folder, checked and made absolute before any of the user's code runs, which may change the folder.

    Args:
        target: Its name gives the folder's, unless ``out`` is the folder.
        out: The folder as the user wrote it.

    Raises:
        InputError: The place is neither free nor a bundle's.
    """

    def __init__(self, target: str | Target | nn.Module, out: Path | str | None) -> None:
        self._here = Path.cwd()
        self._given = None if out is None else Path(out)
        if self._given is None and isinstance(target, str):
            self._given = DEFAULT_FOLDER / file_name(target)
        if self._given is not None:
            check_destination(self._given)
            recover(self._here / self._given)

    def absolute(self, path: Path | str | None) -> Path | None:
        """Return a path that the user wrote relative to the folder that the command began in."""
        return None if path is None else self._here / path

    def of(self, resolved: Target) -> Path:
        """Return the absolute path of the bundle."""
        if self._given is None:
            self._given = DEFAULT_FOLDER / resolved.file_name
        return self.path

    @property
    def path(self) -> Path:
        """The absolute path of the bundle, once the target is known."""
        return self._here / self.shown

    @property
    def shown(self) -> Path:
        """The path as the user wrote it, once the target is known."""
        assert self._given is not None
        return self._given

    def named(self, bundle: Bundle) -> Bundle:
        """Return the bundle with its path as the user wrote it, if that still leads there."""
        try:
            stayed = Path.cwd() == self._here
        except OSError:  # the folder itself is gone
            stayed = False
        return replace(bundle, path=self.shown) if stayed else bundle
