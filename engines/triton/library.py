"""Triton's client library, imported when it is needed."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from ...core import bounds
from ...errors import MissingRequirement, one_line

INSTALL = "pip install 'tritonclient[grpc,http]'"


def import_client(name: str) -> Any:
    """Return the module ``tritonclient.<name>``. Raises MissingRequirement if it cannot be imported or is too old."""
    bounds.require_within("tritonclient")
    try:
        return import_module(f"tritonclient.{name}")
    except ImportError as error:
        reason = one_line(error)
        raise MissingRequirement(f"Triton's client library cannot be imported ({reason}); {INSTALL}") from error


def import_model_config() -> Any:
    """Return the module that holds Triton's ``ModelConfig`` protobuf. Raises MissingRequirement without it."""
    return import_client("grpc.model_config_pb2")
