"""Ultralytics without its calls to the network, its installer, its statistics and its settings file.

When it is imported it asks the network whether it is there, writes a settings file that switches its statistics on,
prints by a handler of its own, and changes settings of this process: threads, how numbers are printed, torch.save.
"""

from __future__ import annotations

import functools
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from importlib.metadata import version
from typing import Any

import numpy as np
import torch

from ...core.scratch import scratch
from ...errors import MissingRequirement, one_line

PACKAGE = "ultralytics"
INSTALL = "pip install ultralytics"
# read when it is imported; the folder of its settings is added
OFFLINE = {"YOLO_OFFLINE": "true", "YOLO_AUTOINSTALL": "false", "YOLO_VERBOSE": "false"}
FOLDER = "YOLO_CONFIG_DIR"


def installed() -> str:
    """Return the version that is installed."""
    return version(PACKAGE)


@functools.lru_cache(maxsize=1)
def network_tasks() -> Any:
    """Return ``ultralytics.nn.tasks``, imported with everything off that is not building a network.

    Raises MissingRequirement if what it needs is missing.
    """
    try:
        with _alone():
            tasks = import_module(f"{PACKAGE}.nn.tasks")
            switch_off(import_module(f"{PACKAGE}.utils"))
            return tasks
    except ImportError as error:
        raise _missing(error) from error


def switch_off(utils: Any) -> None:
    """Switch statistics and installing off in a library that another part of this process may have imported first."""
    dict.__setitem__(utils.SETTINGS, "sync", False)  # in memory: its own way to set would write the file
    for name in ("utils", "utils.checks", "utils.downloads", "utils.events"):
        module = utils if name == "utils" else _imported(name)
        for flag in ("ONLINE", "AUTOINSTALL"):
            if hasattr(module, flag):
                setattr(module, flag, False)
        if hasattr(module, "events"):
            module.events.enabled = False


def _imported(name: str) -> Any:
    return sys.modules.get(f"{PACKAGE}.{name}")


@contextmanager
def _alone() -> Iterator[None]:
    """Give what is imported an environment and a folder of its own, and undo what it changes in this process."""
    before, save, printed = dict(os.environ), torch.save, np.get_printoptions()
    threads = torch.get_num_threads()
    with scratch("ultralytics") as folder, warnings.catch_warnings():
        os.environ.update({**OFFLINE, FOLDER: str(folder)})
        try:
            yield
        finally:
            for name in set(os.environ) - set(before):
                del os.environ[name]
            os.environ.update(before)
            torch.save = save
            torch.set_num_threads(threads)
            np.set_printoptions(**printed)
            torch.set_printoptions(profile="default")  # type: ignore[no-untyped-call]


def _missing(error: ImportError) -> MissingRequirement:
    """Return what to install: Ultralytics asks for an OpenCV with windows, whose libraries a server does not have."""
    reason = one_line(error)
    if ".so" in reason and ("libGL" in reason or "cv2" in (error.name or "") or "libgthread" in reason):
        return MissingRequirement(
            f"received a target of Ultralytics; expected OpenCV, which cannot be loaded here ({reason}); pip uninstall "
            "-y opencv-python && pip install --force-reinstall opencv-python-headless"
        )
    fix = (
        f"pip install {error.name.partition('.')[0]}"
        if isinstance(error, ModuleNotFoundError) and error.name
        else INSTALL
    )
    fix = "pip install opencv-python-headless" if fix.endswith(" cv2") else fix
    return MissingRequirement(f"received a target of Ultralytics; expected it to be importable, got {reason}; {fix}")
