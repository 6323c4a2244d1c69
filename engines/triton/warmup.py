"""Requests that Triton sends to a model before it is ready: the recorded inputs, one for every size."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ...core.bundle import Bundle
from ...core.graph_io import fed
from ...core.recorded_file import reading
from ..tensorrt.profiles import Profile, is_held
from .batching import Batching

if TYPE_CHECKING:
    import numpy.typing as npt

FOLDER = "warmup"
MOST = 16  # requests; a model with many recorded sizes need not start with all of them


@dataclass(frozen=True)
class Request:
    """A request: its name, how often the one row of its arrays is repeated, and the arrays by input."""

    name: str
    batch: int
    arrays: Mapping[str, npt.NDArray[Any]]

    def file(self, position: int) -> str:
        """Return the name of the file of the input at ``position``; an input's own name may be no file name."""
        return f"{self.name}.input_{position}"


def requests(bundle: Bundle, batching: Batching, profiles: Sequence[Profile], io: str) -> Iterator[Request]:
    """Yield a request for every size that was recorded and that a profile holds, for a graph of that ``io``.

    With batching, each has the case's first row, which Triton repeats; without it, the case's arrays as they are.
    """
    seen: set[tuple[tuple[str, int], ...]] = set()
    with reading(bundle.reference_path) as file:
        for case in bundle.manifest["cases"]:
            sizes = case["sizes"]
            key = tuple(sorted(sizes.items()))
            is_for = case.get("io", "") in ("", io)
            if not is_for or key in seen or len(seen) == MOST or not is_held(profiles, sizes):
                continue
            seen.add(key)
            arrays = fed({name: file.get_tensor(f"{case['key']}/input/{name}") for name in case["inputs"]}, io)
            if batching.axis:
                arrays = {name: array[0] for name, array in arrays.items()}
            yield Request(case["key"], sizes.get(batching.axis, 1), arrays)
