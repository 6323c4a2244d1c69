"""Find cases that the ranges of a bundle ask for and its manifest lacks: what they would show is not judged."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..core.bundle import Bundle
from ..core.graph_io import FLOAT32
from ..core.tensor_spec import TensorSpec
from ..errors import CheckFailed, InputError
from .case_values import STRESS_KINDS
from .cases import Case, make_cases
from .recorded import BUDGET_BYTES, input_shapes

# of an output's element: in float64 and float32, and if it is settled; twice, for floors and places that are picked
ELEMENT_BYTES = 2 * (8 + 4 + 1)


def missing_cases(bundle: Bundle) -> list[str]:
    """Return the names of the cases that ranges and inputs of a bundle ask for and that it has not recorded.

    One that is listed as too large is missing if the file of the others leaves it room. Raises InputError if that file
    cannot be read.
    """
    entries = bundle.manifest["cases"]
    shapes, uses = input_shapes(bundle), Counter(entry["key"] for entry in entries)
    recorded = {entry["name"]: entry for entry in entries if uses[entry["key"]] == 1}
    too_large = bundle.manifest.get("cases_left_out", ())
    io = next((io for io in map(bundle.io, bundle.graphs) if io != FLOAT32), FLOAT32)
    missing = []
    for case in make_cases(bundle.inputs, bundle.axes, io=io):
        entry = recorded.get(case.name)
        if entry is None:
            is_there = case.name in too_large and not _has_room(bundle, case)
        else:
            is_there = _is_of(case, entry) and shapes[entry["key"]] == _shapes(bundle.inputs, entry["sizes"])
        missing += [] if is_there else [case.name]
    return missing


def require_cases(bundle: Bundle) -> None:
    """Raise CheckFailed for a bundle with missing cases: nothing is judged by the others alone."""
    if missing := missing_cases(bundle):
        names = ", ".join(missing)
        raise CheckFailed(
            f"{bundle} has not recorded the cases {names}: its ranges ask for them; deploy the target again"
        )


def _is_of(case: Case, entry: Mapping[str, Any]) -> bool:
    """Return True if an entry is the case; the sizes at which extreme values come are a choice of each version."""
    has_sizes = entry["sizes"] == case.sizes or case.kind in STRESS_KINDS
    return has_sizes and (entry["kind"], entry.get("io", "")) == (case.kind, case.io)


def _shapes(inputs: Sequence[TensorSpec], sizes: Mapping[str, int]) -> dict[str, tuple[int, ...]]:
    return {spec.name: spec.resolve(sizes) for spec in inputs}


def _has_room(bundle: Bundle, case: Case) -> bool:
    """Return True if a case would have been recorded beside the others; False if the size of an output is not known."""
    try:
        elements = sum(math.prod(spec.resolve(case.sizes)) for spec in bundle.outputs)
    except InputError:
        return False
    given = sum(math.prod(spec.resolve(case.sizes)) * np.dtype(spec.dtype).itemsize for spec in bundle.inputs)
    return bundle.reference_path.stat().st_size + given + elements * ELEMENT_BYTES < BUDGET_BYTES
