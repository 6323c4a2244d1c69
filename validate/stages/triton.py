"""The models of a server, judged through the wire as every other runtime is."""

from __future__ import annotations

import contextlib
import functools
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from ...core.bundle import Bundle
from ...core.tensor_spec import TensorSpec
from ...engines.runtime import Arrays
from ...engines.triton.client import Refused, TritonClient
from ...engines.triton.served import ServedVersion
from ...errors import Interrupted
from ..cases import Case
from ..verdict import FAILED, StageResult
from .inside import Inside
from .judge import Pairs, StageJudge, judge_stages
from .stage import TOGETHER, TRITON, Stage

MOST = 16  # requests at the same time
START_SECONDS = 5.0  # that one of them waits for the others


@dataclass
class WireModel:
    """A version of a model on a server as a runtime. Once the server is gone or late, no other case is sent."""

    client: TritonClient
    served: ServedVersion
    bundle: Bundle
    gone: Interrupted | None = field(default=None, init=False)

    def load(self) -> None:
        """There is nothing to wait for: the server has loaded it."""

    def run(self, feeds: Arrays) -> Arrays:
        """Return the outputs by name, in the types that the bundle declares.

        Raises Refused if the server answers with an error, Interrupted if it does not answer.
        """
        if self.gone is not None:
            raise self.gone
        metadata = self._types
        sent = {name: _as_served(array, metadata[name]) for name, array in feeds.items()}
        try:
            names = [spec.name for spec in self._outputs]
            found = self.client.infer(self.served.model, self.served.version, sent, names)
        except Interrupted as error:
            self.gone = error
            raise
        return {spec.name: _as_declared(found[spec.name], spec.dtype, len(spec.shape)) for spec in self._outputs}

    @property
    def _outputs(self) -> tuple[TensorSpec, ...]:
        return self.bundle.outputs_of(self.served.precision)

    @functools.cached_property
    def _types(self) -> dict[str, str]:
        metadata = self.client.metadata(self.served.model, self.served.version)
        return {str(entry["name"]): str(entry["datatype"]) for entry in metadata["inputs"]}


@dataclass
class RowsTogether:
    """A batch as a request for each row, all at the same time, so that the server puts some of them together."""

    wire: WireModel

    def load(self) -> None:
        """There is nothing to wait for: the server has loaded it."""

    def run(self, feeds: Arrays) -> Arrays:
        """Return the rows' outputs, put together in their order. Raises what ``WireModel.run`` raises."""
        if self.wire.gone is not None:
            raise self.wire.gone
        rows = len(next(iter(feeds.values())))
        found: list[Arrays] = []
        with ThreadPoolExecutor(MOST) as pool:
            for first in range(0, rows, MOST):
                numbers = range(first, min(first + MOST, rows))
                start = threading.Barrier(len(numbers), timeout=START_SECONDS)
                try:
                    found += pool.map(lambda number, start=start: self._ask(feeds, number, start), numbers)
                except Interrupted as error:
                    self.wire.gone = error
                    raise
        return {name: np.concatenate([one[name] for one in found]) for name in found[0]}

    def _ask(self, feeds: Arrays, number: int, start: threading.Barrier) -> Arrays:
        with TritonClient(self.wire.client.address, seconds=self.wire.client.seconds) as client:
            wire = WireModel(client, self.wire.served, self.wire.bundle)
            client.server()  # the connection stands before all begin at once
            with contextlib.suppress(threading.BrokenBarrierError):  # another one failed, or is late
                start.wait()
            return wire.run({name: array[number : number + 1] for name, array in feeds.items()})


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
    client: TritonClient, bundle: Bundle, served: ServedVersion, pairs: Pairs, *, max_error: float | None
) -> list[StageResult]:
    """Judge a version of a model on the recorded cases that it takes, then the rows of a batch: whole, and alone."""
    stage = Stage(TRITON[client.address.protocol], served.precision)
    if served.wrong:
        return [StageResult(stage, FAILED, served.wrong)]

    inside = Inside(
        pairs, lambda case: served.takes(case.sizes, _rows(bundle, case)), f"what {served.model} says that it takes"
    )
    outside = f"no recorded case lies inside of what {served.model} takes"
    runtime = WireModel(client, served, bundle)
    outputs, io = bundle.outputs_of(served.precision), bundle.io(served.precision)
    judge = StageJudge(stage, runtime, max_error, outputs, without_cases=outside, io=io)
    return [*map(inside.named, judge.results(inside)), *_together(judge, runtime, inside)]


def _together(judge: StageJudge, wire: WireModel, inside: Pairs) -> list[StageResult]:
    """Judge the rows of every batch as requests at the same time, if the server may put requests together."""
    if not wire.served.largest:
        return []
    names = {spec.name for spec in judge.declared}
    batches = ((case, reference) for case, reference in inside() if {*reference.row_outputs} == names)
    one = StageJudge(
        replace(judge.stage, kind=TOGETHER),
        RowsTogether(wire),
        judge.max_error,
        judge.declared,
        without_cases="no recorded batch has rows that do not depend on each other",
        io=judge.io,
    )
    return judge_stages([one], batches)


def _rows(bundle: Bundle, case: Case) -> int:
    """Return the number of rows of a case: the first dimension of its inputs."""
    first = bundle.inputs[0].shape[:1]
    return case.sizes.get(str(first[0]), 0) if first and isinstance(first[0], str) else int((first or (0,))[0])
