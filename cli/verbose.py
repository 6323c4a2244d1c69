"""``--verbose``: show on stderr what the package logs, one line for each thing that is done."""

from __future__ import annotations

import logging
import os
import platform
import sys

import click

from .streams import printable

PACKAGE = __package__.partition(".")[0]
SHOWN_VERSIONS = ("attn2trt", "torch", "timm", "onnx", "onnxruntime-gpu", "onnxruntime", "tensorrt", "tensorrt-rtx")


class _Lines(logging.Handler):
    """Write each record as a line on what stderr is at that moment: seconds since the start, room, text."""

    def emit(self, record: logging.LogRecord) -> None:
        room = record.name.split(".")[1] if "." in record.name else record.name
        text = printable(" ".join(record.getMessage().split()))
        print(f"{record.relativeCreated / 1000:8.2f} s  {room:9} {text}", file=sys.stderr, flush=True)


def show_log(context: click.Context, _option: click.Parameter, wanted: bool) -> None:
    """Show the package's log until the command ends, and what other libraries log as warnings, in their own way."""
    root = context.find_root()
    if not wanted or PACKAGE in root.meta:
        return
    logger = logging.getLogger(PACKAGE)
    lines = _Lines()

    def stop() -> None:
        logger.removeHandler(lines)
        logger.setLevel(logging.NOTSET)

    root.meta[PACKAGE] = lines
    root.call_on_close(stop)
    logging.disable(logging.NOTSET)  # until ``finish`` sets what it was before the command
    logger.addHandler(lines)
    logger.setLevel(logging.INFO)
    log = logging.getLogger(__name__)
    found = ", ".join(f"{name} {it}" for name in SHOWN_VERSIONS if (it := _version(name)))
    log.info("%s; Python %s on %s", found, platform.python_version(), platform.platform())
    log.info("the command runs in process %d", os.getpid())


def _version(package: str) -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(package)
    except PackageNotFoundError:
        return ""
