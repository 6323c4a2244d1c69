"""Tell whether a user's module is the one that was deployed before: by its weights and by its source."""

from __future__ import annotations

import hashlib
import inspect
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import ModuleRefused, typed_line

if TYPE_CHECKING:
    from torch import nn


def fingerprint(module: nn.Module) -> str:
    """Return the SHA-256 of the module's structure, its parameters and buffers, and the source files of its classes.

    Raises ModuleRefused if the module's own code fails when it is asked for these.
    """
    try:
        return _fingerprint(module)
    except Exception as error:
        reason = typed_line(error)
        raise ModuleRefused(
            f"received {type(module).__name__}, whose repr or state_dict raised {reason}; expected a module that "
            "shows what it holds; correct that method"
        ) from error


def _fingerprint(module: nn.Module) -> str:
    import torch

    digest = hashlib.sha256(repr(module).encode())
    for file in sorted(_source_files(module)):
        digest.update(file.read_bytes())
    for name, tensor in sorted(module.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


def _source_files(module: nn.Module) -> set[Path]:
    """Files that define the classes inside ``module``, those of installed libraries left out."""
    files = set()
    for kind in {type(child) for child in module.modules()}:
        try:
            file = Path(inspect.getfile(kind))
        except (TypeError, OSError):  # built in, or defined in an interactive session
            continue
        if "site-packages" not in file.parts and file.suffix == ".py":
            files.add(file)
    return files
