"""Checkpoints fitted to a module key by key, from the disk or from the Hugging Face hub.

checkpoint_file.py reads them, and ``FILE#entry`` names one of several sets of weights there. A prefix common to all
keys, as DataParallel's ``module.`` and Lightning's ``model.``, is left out if the rest are the module's keys. The
names of known releases stand in releases.py.
"""

from __future__ import annotations

import itertools
import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ..core.sentences import first_names
from ..errors import InputError
from .checkpoint_file import ENTRY, INDEX, first_line, named, read_weights, sha256, shard_names, split
from .releases import Fit, fit

if TYPE_CHECKING:
    from torch import Tensor, nn

HUB = "hf-hub:"
HUB_FILES = ("model.safetensors", "pytorch_model.bin", f"model.safetensors{INDEX}", f"pytorch_model.bin{INDEX}")
__all__ = ["load", "load_into", "locate", "sha256", "split"]


def locate(given: Path | str) -> Path:
    """Return the absolute path of the file, or of what ``hf-hub:owner/name[@revision]`` names, fetched once.

    Absolute from here on, since the user's code may change the folder before the file is read. Raises InputError if
    the hub or the repository is out of reach.
    """
    if not str(given):
        raise InputError("received an empty checkpoint; expected a file of weights; write its path, or leave it out")
    if not str(given).startswith(HUB):
        return Path(given).absolute()
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
                found = Path(huggingface_hub.hf_hub_download(repository, name, revision=revision or None))
                for shard in shard_names(found):
                    huggingface_hub.hf_hub_download(repository, shard, revision=revision or None)
                return found
            except EntryNotFoundError as error:
                if isinstance(error, FileNotFoundError):  # the hub out of reach, and the file not in its cache
                    raise
    except Exception as error:
        reason = f"{type(error).__name__}: {first_line(error)}"
    finally:
        log.setLevel(level)
    raise InputError(
        f"received checkpoint {given}; expected a repository of the Hugging Face hub within reach, got {reason}; "
        "correct the name, or give a file that is here"
    )


def load(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a checkpoint by key, on the CPU, without the ``module.`` of DataParallel.

    Raises InputError if the file cannot be read safely, or holds several sets of weights and none is named.
    """
    tensors, _ = read_weights(path)
    return _without(tensors, "module.") if all(key.startswith("module.") for key in tensors) else tensors


def load_into(module: nn.Module, path: Path, *, optional: Callable[[str], bool] = lambda key: False) -> list[str]:
    """Load a checkpoint into a module, every key of both; only those of the module that are ``optional`` may be absent.

    Returns what was done on the way, in words: the entry that was read, the prefix that was left out, the precision
    that was changed. Raises InputError that lists missing, unexpected and mis-shaped keys in one line, and loads
    nothing then.
    """
    import torch

    expected = module.state_dict()
    tensors, entry = read_weights(path)
    prefix, found = _fitted(tensors, expected, _names(module, expected))
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
            f"received {named(path)}, nearest to {found.release.name}, with {'; '.join(faults)}; expected the "
            f"{len(expected)} keys of the module; {_advice(tensors, expected, found, path)}"
        )
    if found.release.refused:
        raise InputError(
            f"received {named(path)}, {found.release.name}; expected weights of this network: {found.release.refused}"
        )
    with torch.no_grad():
        module.load_state_dict(found.tensors, strict=False)
    notes = [f"entry {entry!r}"] if entry else []
    return [*notes, *([f"prefix {prefix!r} left out"] if prefix else []), *_converted(found.tensors, expected)]


def _fitted(tensors: Mapping[str, Tensor], expected: Mapping[str, Tensor], names: Mapping[str, str]) -> tuple[str, Fit]:
    """The prefix common to all keys without which they fit best, and the fit."""
    levels = zip(*(key.split(".")[:-1] for key in tensors), strict=False)
    words = [level[0] for level in itertools.takewhile(lambda level: len({*level}) == 1, levels)]
    choices = ["".join(f"{word}." for word in words[:count]) for count in range(len(words) + 1)]
    fits = [(prefix, fit(_without(tensors, prefix), expected, names)) for prefix in choices]
    return min(fits, key=lambda pair: pair[1].left_over)


def _without(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {key.removeprefix(prefix): value for key, value in tensors.items()}


def _advice(tensors: Mapping[str, Tensor], expected: Mapping[str, Tensor], found: Fit, path: Path) -> str:
    """Return what to give instead: the part of the file whose keys are the module's, if there is one."""
    if not found.unexpected and not found.misshaped:  # as a plain backbone's, for a target with blocks
        return (
            "give one that was trained with what is missing, or load this one into attn2trt.build(TARGET) by "
            "load_state_dict(…, strict=False) and deploy that module from Python"
        )
    if {*expected} <= {*tensors}:  # widths alone differ
        return "give a checkpoint of this very target, or the target the options of the checkpoint's, as its classes"
    starts = {key.removesuffix(name) for name in [*expected][:1] for key in tensors if key.endswith(f".{name}")}
    for start in sorted(starts, key=len):
        if all(f"{start}{name}" in tensors for name in expected):
            return f"the keys under {start!r} are those: give --checkpoint {path.name}{ENTRY}{start.rstrip('.')}"
    return "give a checkpoint of this very target"


def _converted(tensors: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> list[str]:
    """Return the changes that loading made to the numbers' types, in words."""
    pairs = Counter(
        (_dtype(value), _dtype(expected[key]))
        for key, value in tensors.items()
        if key in expected and value.is_floating_point() and value.dtype != expected[key].dtype
    )
    return [f"{count} tensors of {given} read as {taken}" for (given, taken), count in pairs.items()]


def _dtype(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")


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


def _list(kind: str, keys: Sequence[str]) -> str:
    return f"{len(keys)} {kind} ({first_names(keys)})"
