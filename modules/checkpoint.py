"""Checkpoints: read without running what is in them, fitted to a module key by key.

Read: safetensors, and PyTorch files that ``torch.load(weights_only=True)`` accepts, alone or under ``state_dict`` or
``model``, from the disk or from the Hugging Face hub. The ``module.`` prefix of DataParallel is dropped. Which
releases' names are understood stands in releases.py.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import InputError, StorageError
from .releases import fit

if TYPE_CHECKING:
    from torch import Tensor, nn

WRAPPERS = ("state_dict", "model", "model_state", "state_dict_ema")
HUB = "hf-hub:"
HUB_FILES = ("model.safetensors", "pytorch_model.bin")
LISTED = 5


def locate(given: Path | str) -> Path:
    """The file itself: as given, or what ``hf-hub:owner/name[@revision]`` names, fetched once into the hub's cache.

    InputError where the hub or the repository is out of reach.
    """
    if not str(given).startswith(HUB):
        return Path(given)
    import huggingface_hub
    from huggingface_hub.errors import EntryNotFoundError

    repository, _, revision = str(given).removeprefix(HUB).partition("@")
    reason = f"none of {', '.join(HUB_FILES)} in it"
    log = logging.getLogger("huggingface_hub")
    level = log.level
    log.setLevel(logging.ERROR)  # it tells of every retry
    try:
        for name in HUB_FILES:
            try:
                return Path(huggingface_hub.hf_hub_download(repository, name, revision=revision or None))
            except EntryNotFoundError as error:
                if isinstance(error, FileNotFoundError):  # the hub out of reach, and the file not in its cache
                    raise
    except Exception as error:
        reason = f"{type(error).__name__}: {_first_line(error)}"
    finally:
        log.setLevel(level)
    raise InputError(
        f"received checkpoint {given}; expected a repository of the Hugging Face hub within reach, got {reason}; "
        "correct the name, or give a file that is here"
    )


def load(path: Path) -> dict[str, Tensor]:
    """The tensors of a checkpoint by key, on the CPU; InputError where the file cannot be read safely."""
    state = _unwrap(_read(path), path)
    if state and all(key.startswith("module.") for key in state):
        state = {key.removeprefix("module."): value for key, value in state.items()}
    return state


def load_into(module: nn.Module, path: Path, *, optional: Callable[[str], bool] = lambda key: False) -> None:
    """Load a checkpoint into a module, every key of both; only those of the module that are ``optional`` may be absent.

    InputError lists missing, unexpected and mis-shaped keys in one line, and nothing is loaded.
    """
    import torch

    expected = module.state_dict()
    found = fit(load(path), expected, _names(module, expected))
    found.missing = [key for key in found.missing if not optional(key)]
    faults = [
        _list(kind, keys)
        for kind, keys in (
            ("missing", found.missing),
            ("unexpected", found.unexpected),
            ("mis-shaped", found.misshaped),
        )
        if keys
    ]
    if faults:
        raise InputError(
            f"received checkpoint {path}, nearest to {found.release.name}, with {'; '.join(faults)}; "
            f"expected the {len(expected)} keys of the module; give a checkpoint of this very target"
        )
    if found.release.refused:
        raise InputError(
            f"received checkpoint {path}, {found.release.name}; expected weights of this network: "
            f"{found.release.refused}"
        )
    with torch.no_grad():
        module.load_state_dict(found.tensors, strict=False)


def _names(module: nn.Module, expected: Mapping[str, Tensor]) -> dict[str, str]:
    """The module's keys by the names that the backbone's own parameters have without a block after them."""
    from .placement import Followed

    wrapped = [path for path, part in module.named_modules() if isinstance(part, Followed)]
    names = {}
    for key in expected:
        name = key
        for path in sorted(wrapped, key=len, reverse=True):  # the innermost first, so that outer paths stay as they are
            if name.startswith(f"{path}.base."):
                name = f"{path}.{name.removeprefix(f'{path}.base.')}"
        names[name] = key
    return names


def sha256(path: Path) -> str:
    """Of the file's bytes, in hexadecimal."""
    _require_file(path)
    try:
        with path.open("rb") as file:
            digest = hashlib.sha256()
            while block := file.read(1 << 20):
                digest.update(block)
            return digest.hexdigest()
    except OSError as error:
        raise _unreadable(path, error) from error


def _require_file(path: Path) -> None:
    """Raise InputError for what is there and no regular file: a FIFO or a device may never end."""
    if path.exists() and not path.is_dir() and not path.is_file():
        raise InputError(f"received checkpoint {path}, a device, FIFO or socket; expected a file; give one")


def _read(path: Path) -> Any:
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    _require_file(path)
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
    for key, value in found.items():
        if value.layout != torch.strided or value.is_meta or value.is_quantized:
            kind = "without values" if value.is_meta else "sparse or quantized"
            raise InputError(
                f"received checkpoint {path} with {key!r}, a tensor that is {kind}; expected dense tensors; save it "
                "with torch.save(module.state_dict(), path)"
            )
    return dict(found)


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
