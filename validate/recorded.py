"""Cases with their references as named arrays, so that a bundle can be judged without PyTorch.

Every array is one tensor of a safetensors file; a JSON-able index says which is which and holds the scalars. Reading
streams: one case is in memory at a time.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..core.bundle import Bundle
from ..core.precision import FLOAT32, PRECISIONS, Precision
from ..core.recorded_file import reading
from .arrays import Array
from .cases import Case
from .choice import Choice
from .few_numbers import are_few
from .fills import shrunk
from .metrics import GRAPH, PYTORCH, Floor, Reference, is_zero, largest_finite

BUDGET_BYTES = 256 << 20


def to_tensors(
    pairs: Iterable[tuple[Case, Reference]],
) -> tuple[dict[str, Array], list[dict[str, Any]], list[str]]:
    """(arrays by key, index for the manifest, names of the cases left out).

    A case that does not fit into what is left of the budget is left out; later, smaller ones may still fit.
    """
    tensors: dict[str, Array] = {}
    index: list[dict[str, Any]] = []
    left_out: list[str] = []
    used = 0
    for number, (case, reference) in enumerate(pairs):
        arrays, entry = _record(f"case_{number}", case, reference)
        size = sum(array.nbytes for array in arrays.values())
        if used + size > BUDGET_BYTES:
            left_out.append(case.name)
            continue
        used += size
        tensors |= arrays
        index.append(entry)
    return tensors, index, left_out


def _record(key: str, case: Case, reference: Reference) -> tuple[dict[str, Array], dict[str, Any]]:
    feeds = case.feeds
    arrays = {f"{key}/input/{name}": value for name, value in feeds.items()}
    outputs = []
    for name, truth in reference.outputs64.items():
        arrays[f"{key}/float64/{name}"] = truth
        arrays[f"{key}/float32/{name}"] = reference.outputs32[name]
        own = _record_floor(arrays, key, "", name, reference.floors[name])
        output = {"name": name, **own, **_most(case, reference, name, FLOAT32)}
        lower = {
            precision: {
                **_record_floor(arrays, key, f".{precision}", name, floors[name]),
                **_most(case, reference.at(PRECISIONS[precision]), name, PRECISIONS[precision]),
            }
            for precision, floors in reference.lower.items()
        }
        outputs.append({**output, "lower": lower} if lower else output)
    arrays |= {f"{key}/places/{number}": np.asarray(one.picked) for number, one in enumerate(reference.choices)}
    entry = {
        "key": key,
        "name": case.name,
        "why": case.why,
        "kind": case.kind,
        "sizes": dict(case.sizes),
        "inputs": list(feeds),
        "row_inputs": list(case.row_inputs),
        "rows_alone": case.rows_alone,
        "outputs": outputs,
        "row_outputs": list(reference.row_outputs),
        "largest": repr(float(reference.largest)),
        **({"no_float64": reference.no_float64} if reference.no_float64 else {}),
        **({"io": case.io} if case.io else {}),
        **({"source": reference.source} if reference.source != PYTORCH else {}),
        **({"choices": [_choice_entry(one) for one in reference.choices]} if reference.choices else {}),
    }
    return {name: np.array(array, order="C") for name, array in arrays.items()}, entry


def _record_floor(arrays: dict[str, Array], key: str, suffix: str, name: str, floor: Floor) -> dict[str, Any]:
    """Add what a floor holds for each channel and element to ``arrays``; return its scalars.

    These are text: a floor may be infinite, which strict JSON cannot say; repr keeps every bit.
    """
    arrays[f"{key}/floor{suffix}/{name}"] = floor.channel
    if floor.unsettled is not None:
        arrays[f"{key}/unsettled{suffix}/{name}"] = floor.unsettled
    ties = floor.unsettled is not None
    return {"ties": ties, "l2": repr(float(floor.l2)), "max": repr(float(floor.max))}


def _most(case: Case, reference: Reference, name: str, precision: Precision) -> dict[str, str]:
    """Return the largest difference of an element that the verdict passes, for programs without this tool.

    Nothing if the verdict does not go by that alone: for what near ties decide, masks, outputs that are zero, and a few
    numbers in few bits, which are judged by all cases together.
    """
    truth, floor = reference.outputs64[name], reference.floors[name]
    if case.kind != "normal" or reference.choices or reference.no_float64 or not np.isfinite(truth).all():
        return {}
    if not truth.size or not floor.is_finite or (floor.unsettled is not None and floor.unsettled.any()):
        return {}
    if truth.dtype.kind in "iub":
        return {} if floor.max else {"most": "0.0"}
    scale = largest_finite(truth)
    is_masked = shrunk(truth, truth)[1] is not truth
    if is_masked or are_few(truth, precision) or is_zero(scale, reference.largest, is_kept=reference.is_kept(name)):
        return {}
    return {"most": repr(precision.limit * max(floor.max, precision.unit_roundoff) * scale)}


def _choice_entry(choice: Choice) -> dict[str, Any]:
    """Return a choice without its scores and its places."""
    return {
        "operator": choice.operator,
        "scores": list(choice.scores.shape),
        "dim": choice.dim,
        "descending": choice.descending,
        "sorted": choice.is_sorted,
    }


def _choice(entry: Mapping[str, Any], places: Array) -> Choice:
    """Read a choice. Raises ValueError for an axis that its scores do not have."""
    scores = np.broadcast_to(np.float64(np.nan), tuple(map(int, entry["scores"])))
    dim = None if entry["dim"] is None else int(entry["dim"])
    if dim is not None and not -scores.ndim <= dim < scores.ndim:
        raise ValueError(f"a choice along axis {dim} of {scores.ndim}")
    is_sorted = entry["sorted"] is True
    return Choice(str(entry["operator"]), "", scores, places, dim, entry["descending"] is True, is_sorted)


def recorded_cases(bundle: Bundle) -> Iterator[tuple[Case, Reference]]:
    """Every recorded case of a bundle in order, read when it is asked for. Raises what ``from_tensors`` raises."""
    return from_tensors(bundle.reference_path, bundle.manifest["cases"])


def from_tensors(path: Path, index: Sequence[Mapping[str, Any]]) -> Iterator[tuple[Case, Reference]]:
    """Every recorded case in order, read when it is asked for.

    Raises InputError if the file cannot be read or lacks what the index names.
    """
    with reading(path) as file:
        for entry in index:
            yield _load(file, entry)


def input_shapes(bundle: Bundle) -> dict[str, dict[str, tuple[int, ...]]]:
    """Return the shape of each input of every recorded case, by the case's key; nothing but the file's header is read.

    Raises InputError as ``from_tensors`` does.
    """
    with reading(bundle.reference_path) as file:
        return {
            entry["key"]: {
                name: tuple(file.get_slice(f"{entry['key']}/input/{name}").get_shape()) for name in entry["inputs"]
            }
            for entry in bundle.manifest["cases"]
        }


def _load(file: Any, entry: Mapping[str, Any]) -> tuple[Case, Reference]:
    key = entry["key"]
    feeds = {str(name): file.get_tensor(f"{key}/input/{name}") for name in entry["inputs"]}
    names = [str(output["name"]) for output in entry["outputs"]]
    floors = {
        name: _load_floor(file, key, "", name, output) for name, output in zip(names, entry["outputs"], strict=True)
    }
    case = Case(
        name=str(entry["name"]),
        why=str(entry["why"]),
        kind=str(entry["kind"]),
        sizes={str(name): int(size) for name, size in entry["sizes"].items()},
        make=lambda: dict(feeds),
        row_inputs=tuple(str(name) for name in entry["row_inputs"]),
        rows_alone=bool(entry["rows_alone"]),
        io=str(entry.get("io", "")),
    )
    reference = Reference(
        outputs64={name: file.get_tensor(f"{key}/float64/{name}") for name in names},
        outputs32={name: file.get_tensor(f"{key}/float32/{name}") for name in names},
        floors=floors,
        largest=float(entry["largest"]),
        row_outputs=tuple(str(name) for name in entry["row_outputs"]),
        lower=_load_lower(file, entry),
        no_float64=str(entry.get("no_float64", "")),
        source=GRAPH if entry.get("source") == GRAPH else PYTORCH,
        choices=[
            _choice(one, file.get_tensor(f"{key}/places/{number}"))
            for number, one in enumerate(entry.get("choices", ()))
        ],
    )
    for name, value in (
        *((name, feeds[name]) for name in case.row_inputs),
        *((name, reference.outputs64[name]) for name in reference.row_outputs),
    ):
        if not value.ndim:
            raise ValueError(f"{name} of case {case.name} is a scalar, and has no rows")
    _check_forms(reference, case.name)
    return case, reference


def _check_forms(reference: Reference, case: str) -> None:
    """Raise ValueError for an output whose float32, or whose floors, are those of another shape or type."""
    for name, truth in reference.outputs64.items():
        if (found := reference.outputs32[name].shape) != truth.shape:
            raise ValueError(f"{name} of case {case} is {found} in float32, {truth.shape} in float64")
        for floor in (reference.floors[name], *(floors[name] for floors in reference.lower.values() if name in floors)):
            if not _is_floor_of(truth, floor):
                raise ValueError(f"the floor of {name} in case {case} is of another shape or type than {truth.shape}")


def _is_floor_of(truth: Array, floor: Floor) -> bool:
    """Return True if it has a number for each slice, or none for whole numbers, and a mark for each element."""
    slices = {(sum(truth.shape[1:]),), *([] if truth.dtype.kind == "f" else [(0,)])}
    mask = floor.unsettled
    is_marked = mask is None or (mask.shape == truth.shape and mask.dtype.kind == "b")
    return floor.channel.shape in slices and floor.channel.dtype.kind == "f" and is_marked


def _load_lower(file: Any, entry: Mapping[str, Any]) -> dict[str, dict[str, Floor]]:
    """The floors of lower precisions; bundles without any have none recorded."""
    found: dict[str, dict[str, Floor]] = {}
    for output in entry["outputs"]:
        name = str(output["name"])
        for precision, scalars in output.get("lower", {}).items():
            # a bundle of an earlier version has no ties of its own there
            known = {"ties": output["ties"], **scalars}
            found.setdefault(str(precision), {})[name] = _load_floor(file, entry["key"], f".{precision}", name, known)
    return found


def _load_floor(file: Any, key: str, suffix: str, name: str, scalars: Mapping[str, Any]) -> Floor:
    unsettled = file.get_tensor(f"{key}/unsettled{suffix}/{name}") if scalars["ties"] else None
    return Floor(float(scalars["l2"]), float(scalars["max"]), file.get_tensor(f"{key}/floor{suffix}/{name}"), unsettled)
