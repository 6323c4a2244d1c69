"""The weights of an ONNX file that lie beside it, in the model or left where they are."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING

from ..core.file_hashes import tensors
from ..core.graph import EXTERNAL_DATA_BYTES, WEIGHTS
from ..errors import InputError, one_line

if TYPE_CHECKING:
    import onnx

_SMALL_BYTES = 1 << 16  # of a tensor that sizes may be computed of
_PAGE, _BLOCK = 4096, 1 << 24


def load_weights(model: onnx.ModelProto, path: Path, files: Sequence[str], shown: str) -> None:
    """Take the weights beside the file into the model. If all of them are too much for one message, as protobuf's ends
    at 2 GiB, only the small ones, on which the shapes of values may depend: see ``is_light``."""
    from onnx.external_data_helper import load_external_data_for_tensor, uses_external_data
    from onnx.numpy_helper import to_array

    size = sum(file.stat().st_size for file in (path, *(path.parent / name for name in files)))
    for tensor in tensors(model):
        if uses_external_data(tensor):
            length = math.prod(tensor.dims) * 8  # bytes at most
            if size <= EXTERNAL_DATA_BYTES or length <= _SMALL_BYTES:
                try:
                    load_external_data_for_tensor(tensor, str(path.parent))
                    # onnx 1.22 leaves both as they were, and reads the file again
                    tensor.data_location = tensor.DEFAULT
                    del tensor.external_data[:]
                    to_array(tensor)
                except Exception as error:  # a link, or another number of bytes than its shape has
                    raise InputError(
                        f"received {shown}, whose weight {tensor.name!r} cannot be read from the file beside it: "
                        f"{one_line(error, 160)}; save it again"
                    ) from error


def is_light(model: onnx.ModelProto) -> bool:
    """Return True for a model whose large weights were left in their files."""
    return any(tensor.data_location == tensor.EXTERNAL for tensor in tensors(model))


def save_light(model: onnx.ModelProto, path: Path, source: Path) -> None:
    """Write a light model, and its weights out of the files of ``source`` into one file beside it."""
    with path.with_name(WEIGHTS).open("wb") as stream:
        for tensor in tensors(model):
            if tensor.data_location != tensor.EXTERNAL:
                continue
            said = {entry.key: entry.value for entry in tensor.external_data}
            stream.seek(-stream.tell() % _PAGE, os.SEEK_CUR)
            start, length = stream.tell(), _copy(source / said["location"], said, stream)
            del tensor.external_data[:]
            for key, value in (("location", WEIGHTS), ("offset", start), ("length", length)):
                tensor.external_data.add(key=key, value=str(value))
    path.write_bytes(model.SerializeToString())


def _copy(file: Path, said: Mapping[str, str], stream: IO[bytes]) -> int:
    """Append one weight of a file to a stream; returns its length."""
    with file.open("rb") as weights:
        weights.seek(int(said.get("offset", 0)))
        left = length = int(said.get("length", 0)) or file.stat().st_size - weights.tell()
        while left:
            block = weights.read(min(left, _BLOCK))
            if not block:
                raise InputError(f"received {file}, which became shorter while it was read; run the command again")
            stream.write(block)
            left -= len(block)
    return length
