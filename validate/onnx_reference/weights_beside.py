"""Weights that lie in a file beside a graph, as arrays: a message with all of them would hold each of them twice."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ...core.file_hashes import tensors
from ..arrays import Array

if TYPE_CHECKING:
    import onnx


def weights_beside(model: onnx.ModelProto, folder: Path, dtype: np.dtype[Any]) -> dict[str, Array]:
    """Return the weights of the graph whose numbers are in files in ``folder``, floats as ``dtype``.

    In the model an empty tensor takes the place of each; what lies beside the body of a loop is read into the model.
    """
    from onnx.external_data_helper import load_external_data_for_tensor

    found = dict(_mapped(model.graph, folder, dtype))
    for tensor in tensors(model):
        if tensor.data_location == tensor.EXTERNAL:
            load_external_data_for_tensor(tensor, str(folder))
            tensor.data_location = tensor.DEFAULT
            del tensor.external_data[:]
    return found


def _mapped(graph: onnx.GraphProto, folder: Path, dtype: np.dtype[Any]) -> Iterator[tuple[str, Array]]:
    import onnx

    for tensor in graph.initializer:
        own = np.dtype(onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type))
        is_packed = "int4" in own.name or "float4" in own.name or "int2" in own.name
        if tensor.data_location != tensor.EXTERNAL or is_packed or not tensor.dims:
            continue
        said = {entry.key: entry.value for entry in tensor.external_data}
        place, shape = folder / said["location"], tuple(tensor.dims)
        # a mapping of the file: what is read once in a run need not stay in memory
        values = np.asarray(np.memmap(place, own, "r", int(said.get("offset", 0)), shape))
        is_float = own.kind == "f" or "float" in own.name
        yield tensor.name, values.astype(dtype) if is_float and own != dtype else values
        del tensor.external_data[:]
        tensor.data_location = tensor.DEFAULT
        del tensor.dims[:]
        tensor.dims.append(0)
