"""Things at a path that are neither a file nor a folder."""

from __future__ import annotations

import os
import socket
import stat
from pathlib import Path

import pytest


def make_device(place: Path) -> None:
    try:
        os.mknod(place, stat.S_IFCHR | 0o600, os.makedev(1, 3))  # a null device of our own
    except PermissionError:
        pytest.skip("this user may not make device nodes")


def bind_socket(place: Path) -> None:
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(str(place))
