"""Checkpoint files: what they hold, read without running anything, and one of the sets of weights in it.

Read are safetensors, alone or sharded behind an index, and PyTorch files of tensors, containers, numbers and what
training scripts save beside them: ``argparse.Namespace``, paths and NumPy scalars.
"""

from __future__ import annotations

import argparse
import pathlib
import re
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..core import file_hashes
from ..core.input_path import require_utf8
from ..core.typed_json import parsed
from ..errors import InputError, StorageError

if TYPE_CHECKING:
    from torch import Tensor

INDEX = ".index.json"
ENTRY = "#"
# Deeper in a file are no sets of weights, and what stands under these keys are other tensors.
DEEPEST = 4
OTHER_KEYS = ("optimizer", "optim", "scheduler", "lr_scheduler", "scaler", "loss", "criterion", "rng", "callbacks")
# A set with fewer tensors than this share of the largest, as a criterion's class weights, is not another model.
SHARE = 0.5
# How a file of torch.save begins: a zip archive with this entry, or before PyTorch 1.6 a pickle.
_ARCHIVE, _PICKLED = b"PK\3\4", "data.pkl"
_SAVED = (_ARCHIVE, b"\x80")
SAVE = "save it with torch.save(module.state_dict(), path)"


def split(path: Path) -> tuple[Path, str]:
    """Return the file and the entry that ``FILE#entry`` names; no entry if there is a file of the whole name."""
    text = str(path)
    if ENTRY not in text or path.exists():
        return path, ""
    file, _, entry = text.rpartition(ENTRY)
    return Path(file), entry


def named(path: Path) -> str:
    """Return "checkpoint" and the path as people give it: from the working folder, if it lies inside."""
    try:
        return f"checkpoint {path.relative_to(Path.cwd())}"
    except (ValueError, OSError):  # elsewhere, or the working folder is gone
        return f"checkpoint {path}"


def sha256(path: Path) -> str:
    """Return the hash of a checkpoint's bytes, those of an index with those of its shards, in hexadecimal."""
    file, _ = split(path)
    parts = (file, *_shards(file))
    for part in parts:
        _require_file(part)
    try:
        return file_hashes.sha256(*parts)
    except OSError as error:
        raise _unreadable(Path(error.filename or file), error) from error


def read_weights(path: Path) -> tuple[dict[str, Tensor], str]:
    """Return one set of weights by key, on the CPU, and the name of the entry that holds it ("" for the whole file).

    Raises InputError if the file cannot be read safely, if it holds several sets and none is named, and if the one that
    is named is not in it.
    """
    file, entry = split(path)
    found = _read(file)
    sets = dict(_sets(found))
    if file != path:
        return _named(sets, entry, path)
    if not sets:
        raise _no_weights(found, path)
    most = max(map(len, sets.values()))
    large = {name: tensors for name, tensors in sets.items() if len(tensors) >= SHARE * most}
    if len(large) > 1:
        listed = ", ".join(f"{name} ({len(tensors)} tensors)" for name, tensors in large.items())
        raise InputError(
            f"received {named(path)} with {len(large)} sets of weights: {listed}; expected one; choose it, as "
            f"--checkpoint {path.name}{ENTRY}{[*large][-1]}"
        )
    name, tensors = next(iter(large.items()))
    return _checked(dict(tensors), path), name


def _named(sets: Mapping[str, Mapping[str, Tensor]], entry: str, path: Path) -> tuple[dict[str, Tensor], str]:
    """The set of this name, or the keys of one that begin with what is left of the name."""
    if entry in sets:
        return _checked(dict(sets[entry]), path), entry
    for name, tensors in sets.items():
        start = entry if not name else entry.removeprefix(f"{name}.") if entry.startswith(f"{name}.") else entry
        inside = {key.removeprefix(f"{start}."): value for key, value in tensors.items() if key.startswith(f"{start}.")}
        if inside:
            return _checked(inside, path), entry
    listed = ", ".join(name or "the whole file" for name in sets) or "none"
    raise InputError(f"received {named(path)}; expected one of its sets of weights, {listed}; name one after {ENTRY}")


def _sets(found: Any, name: str = "", depth: int = 0) -> Iterator[tuple[str, Mapping[str, Tensor]]]:
    """(dotted name, tensors by key) of every mapping that holds nothing but tensors, by text keys on the way to it."""
    import torch

    if not isinstance(found, Mapping) or not found or not all(isinstance(key, str) for key in found):
        return
    if all(isinstance(value, torch.Tensor) for value in found.values()):
        yield name, found
    elif depth < DEEPEST:
        for key, value in found.items():
            if not key.lower().startswith(OTHER_KEYS):
                yield from _sets(value, f"{name}.{key}".lstrip("."), depth + 1)


def _no_weights(found: Any, path: Path) -> InputError:
    import torch

    if not isinstance(found, Mapping):
        what = f", a {type(found).__name__}"
    else:
        other = [key for key, value in found.items() if not isinstance(key, str) or not isinstance(value, torch.Tensor)]
        what = f" with {other[0]!r}, which is no tensor" if other else " with no tensor"
    return InputError(
        f"received {named(path)}{what}; expected tensors by key, alone or under a key such as state_dict or model; "
        f"{SAVE}"
    )


def _checked(tensors: dict[str, Tensor], path: Path) -> dict[str, Tensor]:
    import torch

    for key, value in tensors.items():
        if value.layout != torch.strided or value.is_meta or value.is_quantized:
            kind = "without values" if value.is_meta else "sparse or quantized"
            raise InputError(
                f"received {named(path)} with {key!r}, a tensor that is {kind}; expected dense tensors; {SAVE}"
            )
    return tensors


def shard_names(path: Path) -> list[str]:
    """Return the names of the files that an index names, in order; none for any other file.

    Raises InputError for an index that cannot be read, and for a name that leaves its folder.
    """
    if not path.name.endswith(INDEX) or not path.is_file():
        return []
    try:
        names = [*dict.fromkeys(parsed(path.read_text(encoding="utf-8"))["weight_map"].values())]
        outside = [name for name in names if Path(name).name != name]
    except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
        raise InputError(
            f"received {named(path)}, an index without a weight_map ({type(error).__name__}); expected that of a "
            "sharded checkpoint; copy it again"
        ) from error
    if outside:
        raise InputError(
            f"received {named(path)}, which names the shard {outside[0]!r}; expected a file beside it; do not use it"
        )
    return names


def _shards(path: Path) -> list[Path]:
    return [path.parent / name for name in shard_names(path)]


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
    if path.name.endswith(INDEX):
        return {key: value for shard in _shards(path) for key, value in _read(shard).items()}
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        with torch.serialization.safe_globals(_allowed()):
            return torch.load(path, map_location="cpu", weights_only=True)
    except SafetensorError as error:
        raise InputError(
            f"received {named(path)}, which is not safetensors ({first_line(error)}); expected a whole file; "
            "copy it again"
        ) from error
    except Exception as error:
        reason, advice = _refusal(path, str(error)) or (
            f"{type(error).__name__}: {first_line(error).partition('. ')[0]}",
            SAVE,
        )
        raise InputError(
            f"received {named(path)}, refused since {reason}; expected safetensors or a weights-only PyTorch file; "
            f"{advice}"
        ) from error


def _refusal(path: Path, said: str) -> tuple[str, str] | None:
    """Return why a file is no weights-only PyTorch file, and what to do; None if PyTorch's ``said`` tells."""
    if path.suffix == ".pt2":
        return "it is a program of torch.export", "give it as TARGET, with --trust"
    if "TorchScript" in said:
        return "it is TorchScript, which runs code", "save torch.jit.load(path).state_dict() with torch.save"
    if other := _other_kind(path):
        return other
    if "weights_only" in said or "Unsupported" in said or "WeightsUnpickler" in said:
        found = re.search(r"GLOBAL (\S+) was not", said)
        held = f", as {found[1]}" if found else ""
        return f"it would run code or hold objects other than tensors{held}", f"{SAVE}; --trust is for targets alone"
    return None


def _other_kind(path: Path) -> tuple[str, str] | None:
    """Return why torch.save cannot have written a file as it is, and what to do; None if it may have."""
    with path.open("rb") as file:
        begin = file.read(4)
    if not begin.startswith(_SAVED):
        return "torch.save did not write it", "give the file of the weights"
    try:
        if begin == _ARCHIVE and not any(name.endswith(_PICKLED) for name in zipfile.ZipFile(path).namelist()):
            return "it is an archive that torch.save did not write", "give the file of the weights"
    except zipfile.BadZipFile:
        return "it is no whole archive", "copy it again"
    return None


def _allowed() -> list[Any]:
    """Return the types that a file may hold beside tensors: plain data of training scripts, none of which runs."""
    import numpy as np

    kinds = [getattr(np.dtypes, name) for name in dir(np.dtypes) if name.endswith("DType")]
    scalar = np.float64(0).__reduce__()[0]
    names = ("numpy.core.multiarray.scalar", "numpy._core.multiarray.scalar")
    return [
        *(argparse.Namespace, np.dtype, *(kind for kind in kinds if kind is not np.dtypes.ObjectDType)),
        *((scalar, name) for name in names),
        *((pathlib.PosixPath, f"{module}.PosixPath") for module in ("pathlib", "pathlib._local")),
    ]


def _require_file(path: Path) -> None:
    """Raise InputError for what is there and no regular file: a FIFO or a device may never end.

    The same for a name that is not UTF-8, or holds a byte of zero.
    """
    require_utf8(str(path), "--checkpoint ")
    if path.exists() and not path.is_dir() and not path.is_file():
        raise InputError(f"received {named(path)}, a device, FIFO or socket; expected a file; give one")


def first_line(error: Exception) -> str:
    """Return the first line of what an error says, of at most 200 characters."""
    lines = str(error).strip().splitlines()
    return lines[0][:200] if lines else "no reason given"


def _unreadable(path: Path, error: OSError) -> InputError | StorageError:
    if isinstance(error, (FileNotFoundError, IsADirectoryError)):
        return InputError(f"received {named(path)}; expected a file, got {error.strerror}; correct --checkpoint")
    return StorageError(f"received {named(path)}; expected to read it, got {error.strerror}; check its permissions")
