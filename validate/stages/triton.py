"""The models of a server, judged through the wire as every other runtime is."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ...core.bundle import Bundle
from ...core.tensor_spec import TensorSpec
from ...engines.runtime import Arrays
from ...engines.triton.client import Refused, TritonClient
from ...engines.triton.served import ServedVersion
from ...errors import Interrupted
from ..cases import Case
from ..verdict import StageResult
from .judge import Pairs, StageJudge
from .stage import TRITON, Stage

if TYPE_CHECKING:
    from ..metrics import Reference


@dataclass
class WireModel:
    """A version of a model on a server as a runtime. Once the server is gone or late, no other case is sent."""

    client: TritonClient
    served: ServedVersion
    bundle: Bundle
    _gone: Interrupted | None = field(default=None, init=False)

    def load(self) -> None:
        """There is nothing to wait for: the server has loaded it."""

    def run(self, feeds: Arrays) -> Arrays:
        """Return the outputs by name, in the types that the bundle declares.

        Raises Refused if the server answers with an error, Interrupted if it does not answer.
        """
        if self._gone is not None:
            raise self._gone
        metadata = self._types
        sent = {name: _as_served(array, metadata[name]) for name, array in feeds.items()}
        try:
            names = [spec.name for spec in self._outputs]
            found = self.client.infer(self.served.model, self.served.version, sent, names)
        except Interrupted as error:
            self._gone = error
            raise
        return {spec.name: _as_declared(found[spec.name], spec.dtype, len(spec.shape)) for spec in self._outputs}

    @property
    def _outputs(self) -> tuple[TensorSpec, ...]:
        return self.bundle.outputs_of(self.served.precision)

    @functools.cached_property
    def _types(self) -> dict[str, str]:
        metadata = self.client.metadata(self.served.model, self.served.version)
        return {str(entry["name"]): str(entry["datatype"]) for entry in metadata["inputs"]}


def _as_served(array: npt.NDArray[Any], kind: str) -> npt.NDArray[Any]:
    """Return an input as the server takes it: INT32 for int64 if its TensorRT has no other, and never without axes."""
    if kind == "INT32" and array.dtype == np.int64:
        narrow = array.astype(np.int32)
        if not np.array_equal(narrow, array):
            raise Refused(f"an input holds {array.max()}, which INT32, the server's type, cannot hold")
        array = narrow
    return array.reshape(1) if array.ndim == 0 else array


def _as_declared(array: npt.NDArray[Any], dtype: str, rank: int) -> npt.NDArray[Any]:
    """Return an output as the bundle declares it: a scalar comes with one axis, int64 as INT32 from an old TensorRT."""
    if dtype == "int64" and array.dtype == np.int32:
        array = array.astype(np.int64)
    return array.reshape(()) if rank == 0 and array.shape == (1,) else array


def judge_served(
    client: TritonClient, bundle: Bundle, served: ServedVersion, pairs: Pairs, *, max_error: float | None = None
) -> list[StageResult]:
    """Judge a version of a model on the recorded cases that it takes, then the rows of a batch."""
    stage = Stage(TRITON[client.address.protocol], served.precision)
    if served.wrong:
        return [StageResult(stage, "failed", served.wrong)]

    def inside() -> Iterator[tuple[Case, Reference]]:
        return (pair for pair in pairs() if served.takes(pair[0].sizes, _rows(bundle, pair[0])))

    outside = f"no recorded case lies inside of what {served.model} takes"
    runtime = WireModel(client, served, bundle)
    outputs, io = bundle.outputs_of(served.precision), bundle.io(served.precision)
    judge = StageJudge(stage, runtime, max_error, outputs, without_cases=outside, io=io)
    return judge.results(inside)


def _rows(bundle: Bundle, case: Case) -> int:
    """Return the number of rows of a case: the first dimension of its inputs."""
    first = bundle.inputs[0].shape[:1]
    return case.sizes.get(str(first[0]), 0) if first and isinstance(first[0], str) else int((first or (0,))[0])
