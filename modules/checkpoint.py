"""Checkpoints: read without running what is in them, fitted to a module key by key.

Read: safetensors, and PyTorch files that ``torch.load(weights_only=True)`` accepts, alone or under ``state_dict`` or
``model``. The ``module.`` prefix of DataParallel is dropped, and a release's name for a block's place
(``layer1.0.cbam.…``) is read as the place's name here (``layer1.0.se.…``).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import InputError, StorageError

if TYPE_CHECKING:
    from torch import Tensor, nn

WRAPPERS = ("state_dict", "model", "model_state", "state_dict_ema")
# What the releases call a block's place inside a residual block, and MobileNetV2's names in coordinate attention.
ALIASES = {"cbam": "se", "eca": "se", "conv2": "conv_h", "conv3": "conv_w"}
LISTED = 5


def load(path: Path) -> dict[str, Tensor]:
    """The tensors of a checkpoint by key, on the CPU; InputError where the file cannot be read safely."""
    state = _unwrap(_read(path), path)
    if state and all(key.startswith("module.") for key in state):
        state = {key.removeprefix("module."): value for key, value in state.items()}
    return state


def load_into(module: nn.Module, path: Path) -> None:
    """Load a checkpoint into a module, every key of both.

    InputError lists missing, unexpected and mis-shaped keys in one line, and nothing is loaded.
    """
    import torch

    expected = module.state_dict()
    state = _with_our_names(load(path), expected)
    # a counter of training steps: older checkpoints lack it and inference never reads it
    missing = [key for key in expected if key not in state and not key.endswith("num_batches_tracked")]
    unexpected = [key for key in state if key not in expected]
    misshaped = [
        f"{key} {tuple(value.shape)} instead of {tuple(expected[key].shape)}"
        for key, value in state.items()
        if key in expected and value.shape != expected[key].shape
    ]
    faults = [
        _list(kind, keys)
        for kind, keys in (("missing", missing), ("unexpected", unexpected), ("mis-shaped", misshaped))
        if keys
    ]
    if faults:
        raise InputError(
            f"received checkpoint {path} with {'; '.join(faults)}; expected the {len(expected)} keys of the module; "
            "give a checkpoint of this very target"
        )
    with torch.no_grad():
        module.load_state_dict(state, strict=False)


def sha256(path: Path) -> str:
    """Of the file's bytes, in hexadecimal."""
    try:
        with path.open("rb") as file:
            digest = hashlib.sha256()
            while block := file.read(1 << 20):
                digest.update(block)
            return digest.hexdigest()
    except OSError as error:
        raise _unreadable(path, error) from error


def _read(path: Path) -> Any:
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        with path.open("rb") as file:
            file.read(1)
    except OSError as error:
        raise _unreadable(path, error) from error
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        return torch.load(path, map_location="cpu", weights_only=True)
    except SafetensorError as error:
        raise InputError(
            f"received checkpoint {path}, which is not safetensors ({_first_line(error)}); expected a whole file; "
            "copy it again"
        ) from error
    except Exception as error:
        if "weights_only" in str(error) or "Unsupported" in str(error) or "WeightsUnpickler" in str(error):
            reason = "it would run code or hold objects other than tensors"
        else:
            reason = f"{type(error).__name__}: {_first_line(error)}"
        raise InputError(
            f"received checkpoint {path}, refused since {reason}; expected safetensors or a weights-only PyTorch file; "
            "save it with torch.save(module.state_dict(), path)"
        ) from error


def _unwrap(found: Any, path: Path) -> dict[str, Tensor]:
    import torch

    for wrapper in WRAPPERS:
        if isinstance(found, Mapping) and isinstance(found.get(wrapper), Mapping):
            found = found[wrapper]
    if not isinstance(found, Mapping):
        raise InputError(
            f"received checkpoint {path}, a {type(found).__name__}; expected tensors by key; "
            "save it with torch.save(module.state_dict(), path)"
        )
    other = [key for key, value in found.items() if not isinstance(key, str) or not isinstance(value, torch.Tensor)]
    if other or not found:
        what = f"{other[0]!r}, which is no tensor" if other else "no tensor"
        raise InputError(
            f"received checkpoint {path} with {what}; expected tensors by key, alone or under "
            f"{' or '.join(WRAPPERS[:2])}; save it with torch.save(module.state_dict(), path)"
        )
    return dict(found)


def _with_our_names(state: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Keys of a release renamed where, and only where, that turns an unknown key into one of the module's."""
    renamed: dict[str, Tensor] = {}
    for key, value in state.items():
        ours = key
        if key not in expected:
            steps = key.split(".")
            for index, step in enumerate(steps):
                other = ".".join([*steps[:index], ALIASES.get(step, step), *steps[index + 1 :]])
                if other in expected and other not in state:
                    ours = other
        renamed[ours] = value
    return renamed


def _list(kind: str, keys: Sequence[str]) -> str:
    more = f" and {len(keys) - LISTED} more" if len(keys) > LISTED else ""
    return f"{len(keys)} {kind} ({', '.join(keys[:LISTED])}{more})"


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:200] if lines else "no reason given"


def _unreadable(path: Path, error: OSError) -> InputError | StorageError:
    if isinstance(error, (FileNotFoundError, IsADirectoryError)):
        return InputError(f"received checkpoint {path}; expected a file, got {error.strerror}; correct --checkpoint")
    return StorageError(f"received checkpoint {path}; expected to read it, got {error.strerror}; check its permissions")
