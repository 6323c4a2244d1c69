"""The manifest of a bundle: what each entry holds, its own hash, and how it is read from a file that may be anything.

Entries that are not named here are let be, so that a later version may write more.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, cast

from ..errors import InputError
from .dimension import size_of
from .manifest_entries import Manifest
from .precision import PRECISIONS
from .tensor_spec import Axis

FORMAT = 1
MANIFEST = "bundle.json"
MODEL = "model.onnx"
REFERENCE = "reference.safetensors"
REPORT = "report.html"
HASH = "sha256"  # of the manifest itself
LONGEST_VALUE = 60

# A check of a value: returns (place in it, what was expected) if something else is there, else None.
Check = Callable[[Any], "tuple[str, str] | None"]


def read_manifest(file: Path) -> Manifest:
    """Read a manifest. Raises InputError if the file holds none, or one whose entries are not what they must be."""
    try:
        manifest = json.loads(file.read_text(encoding="utf-8"), object_pairs_hook=_once)
    except (ValueError, RecursionError) as error:
        reason = " ".join(str(error).split())[:200]
        raise InputError(f"{file} is not readable JSON ({reason}); deploy the target again") from error
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        found = _short(manifest.get("format")) if isinstance(manifest, dict) else type(manifest).__name__
        is_newer = isinstance(manifest, dict) and type(manifest.get("format")) is int and manifest["format"] > FORMAT
        advice = "upgrade attn2trt" if is_newer else "deploy the target again"
        raise InputError(f"{file} has format {found}; this version reads format {FORMAT}; {advice}")
    if (wrong := _MANIFEST(manifest)) is not None:
        where, expected = wrong
        raise InputError(f"{file} has no usable {where}; expected {expected}; deploy the target again")
    _check_names(file, manifest)
    return cast(Manifest, manifest)


def manifest_text(manifest: Mapping[str, Any]) -> str:
    """Return the text of the file, with the hash of what it says."""
    plain = json.loads(json.dumps(manifest))  # keys and tuples as they come back
    return json.dumps({**plain, HASH: manifest_hash(plain)}, indent=1, ensure_ascii=False) + "\n"


def manifest_hash(manifest: Mapping[str, Any]) -> str:
    """Return the SHA-256 of the manifest's JSON without the hash: sorted keys, no spaces, ASCII."""
    content = {key: value for key, value in manifest.items() if key != HASH}
    return hashlib.sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def is_inside(name: str) -> bool:
    """Return True if ``name`` is a plain relative path that stays in the bundle's folder."""
    path = PurePosixPath(name)
    plain = bool(name) and not any(character in name for character in "\\:\0")
    return plain and not path.is_absolute() and ".." not in path.parts and path.as_posix() == name and name != "."


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key is there twice")
    return found


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= LONGEST_VALUE else f"{text[:LONGEST_VALUE]}…"


def _a(expected: str, matches: Callable[[Any], bool]) -> Check:
    def check(value: Any) -> tuple[str, str] | None:
        return None if matches(value) else (_short(value), expected)

    return check


def _text(expected: str, pattern: str) -> Check:
    return _a(expected, lambda value: isinstance(value, str) and re.fullmatch(pattern, value) is not None)


def _list(check: Check) -> Check:
    def check_all(value: Any) -> tuple[str, str] | None:
        if not isinstance(value, list):
            return _short(value), "a list"
        found = ((place, check(entry)) for place, entry in enumerate(value))
        return next((_inside(f"[{place}]", wrong) for place, wrong in found if wrong is not None), None)

    return check_all


def _dict(check: Check) -> Check:
    def check_all(value: Any) -> tuple[str, str] | None:
        if not isinstance(value, dict):
            return _short(value), "a dict"
        found = ((name, check(entry)) for name, entry in value.items())
        return next((_inside(repr(name), wrong) for name, wrong in found if wrong is not None), None)

    return check_all


def _record(_optional: tuple[str, ...] = (), **checks: Check) -> Check:
    def check_all(value: Any) -> tuple[str, str] | None:
        if not isinstance(value, dict):
            return _short(value), "a dict"
        for name, check in checks.items():
            if name not in value and name in _optional:
                continue
            if name not in value:
                return repr(name), "an entry"
            if (wrong := check(value[name])) is not None:
                return _inside(repr(name), wrong)
        return None

    return check_all


def _or_none(check: Check) -> Check:
    return lambda value: None if value is None else check(value)


def _inside(where: str, wrong: tuple[str, str]) -> tuple[str, str]:
    return f"{where}, {wrong[0]}", wrong[1]


def _is_whole(value: Any, low: int = -(2**63)) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and low <= value < 2**63


def _is_numeral(value: Any) -> bool:
    """Return True for a number, also as text: strict JSON has no infinity."""
    try:
        float(value)
    except (TypeError, ValueError, OverflowError):
        return False
    return isinstance(value, str | int | float) and not isinstance(value, bool)


def _is_range(value: Any) -> bool:
    if not (isinstance(value, list) and len(value) in (3, 4) and all(_is_whole(size, 1) for size in value)):
        return False
    try:
        Axis(*value)
    except InputError:
        return False
    return True


_TEXT = _a("text", lambda value: isinstance(value, str))
_FLAG = _a("true or false", lambda value: isinstance(value, bool))
_COUNT = _a("a number of 0 or more", lambda value: _is_whole(value, 0))
_NUMERAL = _a("a number", _is_numeral)
_SHA256 = _text("64 hexadecimal digits", "[0-9a-f]{64}")
_SIZE = _a("a size, or an axis or an expression of axes", lambda value: isinstance(value, str) or _is_whole(value, 0))
_DTYPE = _text("a dtype", r"u?int(8|16|32|64)|float(16|32|64)|bfloat16|bool")
_RANGE = _a("[min, opt, max] of sizes, in order", _is_range)
_GRAPH = _text("the name of a graph", r"model[\w.+-]*\.onnx")
_A_PRECISION = _a(f"one of {', '.join(PRECISIONS)}", lambda value: isinstance(value, str) and value in PRECISIONS)
_ANYTHING = _record()

_NUMBER = _a("a number", lambda value: isinstance(value, int | float) and not isinstance(value, bool))
_BOUND = _or_none(_NUMBER)
_LAYOUT = _text("nchw or nhwc", "nchw|nhwc")
_SPEC = _record(
    ("low", "high", "layout"), name=_TEXT, shape=_list(_SIZE), dtype=_DTYPE, low=_BOUND, high=_BOUND, layout=_LAYOUT
)
_FLOOR = _record(("ties",), l2=_NUMERAL, max=_NUMERAL, ties=_FLAG)
_CASE = _record(
    ("no_float64", "io"),
    key=_TEXT,
    name=_TEXT,
    why=_TEXT,
    kind=_TEXT,
    sizes=_dict(_a("a size", lambda value: _is_whole(value, 1))),
    inputs=_list(_TEXT),
    row_inputs=_list(_TEXT),
    rows_alone=_FLAG,
    outputs=_list(_record(("lower",), name=_TEXT, ties=_FLAG, l2=_NUMERAL, max=_NUMERAL, lower=_dict(_FLOOR))),
    row_outputs=_list(_TEXT),
    largest=_NUMERAL,
    no_float64=_TEXT,
    io=_DTYPE,
)
_PRECISION = _record(
    ("modules", "inputs_and_outputs"),
    file=_GRAPH,
    opset=_COUNT,
    oldest_tensorrt=_TEXT,
    lowered=_COUNT,
    float32=_dict(_TEXT),
    notes=_list(_TEXT),
    modules=_dict(_TEXT),
    inputs_and_outputs=_text("float32 or float16", "float32|float16"),
)
_PREPROCESSING = _record(
    ("size", "resize", "crop", "interpolation", "antialias", "pad", "anchor", "scale", "mean", "std", "order"),
    size=_list(_COUNT),
    resize=_TEXT,
    crop=_NUMBER,
    interpolation=_TEXT,
    antialias=_FLAG,
    pad=_list(_NUMBER),
    anchor=_TEXT,
    scale=_NUMBER,
    mean=_list(_NUMBER),
    std=_list(_NUMBER),
    order=_TEXT,
)
_SEARCH = _record(tried=_list(_record(precision=_TEXT, kept=_list(_TEXT), said=_TEXT)), chosen=_TEXT)
_MANIFEST = _record(
    (
        *(
            "key",
            "build",
            "opset",
            "narrowed",
            "preprocessing",
            "modules",
            "cases_left_out",
            "hidden",
            "trtexec",
            "precisions",
        ),
        *(
            "precision_search",
            "versions",
            "plans",
            "tuned",
            "tuned_graphs",
            "command",
            "classes",
            "validated",
            "benchmark",
            "cost",
            "precision",
            "onnx_file",
            "against",
            HASH,
        ),
    ),
    target=_record(("weights",), name=_TEXT, weights=_or_none(_TEXT)),
    files=_dict(_record(("role", "bytes"), sha256=_SHA256, role=_TEXT, bytes=_COUNT)),
    axes=_dict(_RANGE),
    inputs=_list(_SPEC),
    outputs=_list(_SPEC),
    cases=_list(_CASE),
    verdict=_ANYTHING,
    key=_TEXT,
    build=_or_none(_record(seed=_COUNT, pretrained=_FLAG, checkpoint=_FLAG)),
    opset=_COUNT,
    narrowed=_dict(_TEXT),
    preprocessing=_PREPROCESSING,
    modules=_dict(_TEXT),
    cases_left_out=_list(_TEXT),
    hidden=_list(_TEXT),
    precisions=_dict(_PRECISION),
    precision_search=_SEARCH,
    versions=_dict(_TEXT),
    command=_TEXT,
    classes=_list(_record(name=_TEXT, source=_TEXT, modules=_list(_TEXT))),
    validated=_record(verdict=_ANYTHING, machine=_ANYTHING),
    benchmark=_ANYTHING,
    cost=_ANYTHING,
    plans=_list(_record(file=_TEXT)),
    tuned=_or_none(_record(("graph",), file=_GRAPH, graph=_SHA256)),
    tuned_graphs=_list(
        _record(flavour=_TEXT, precision=_A_PRECISION, file=_GRAPH, graph=_SHA256, modules=_dict(_TEXT))
    ),
    precision=_A_PRECISION,
    onnx_file=_record(("weights",), name=_TEXT, sha256=_SHA256, weights=_dict(_SHA256)),
    against=_or_none(_TEXT),
    **{HASH: _SHA256},
)


def _check_names(file: Path, manifest: Mapping[str, Any]) -> None:
    """Raise InputError for a name that leaves the bundle, and for a graph that is not listed."""
    for name in manifest["files"]:
        if not is_inside(name) or name == MANIFEST:
            raise InputError(f"{file} lists {name!r}, which leaves the bundle or is none of it; do not use this bundle")
    lowered = {name: entry["file"] for name, entry in manifest.get("precisions", {}).items()}
    tuned = manifest.get("tuned")
    tuned_files = [] if tuned is None else [tuned["file"]]
    graphs = [*lowered.values(), *tuned_files, *(entry["file"] for entry in manifest.get("tuned_graphs", ()))]
    for name in (MODEL, REFERENCE, *graphs):
        if name not in manifest["files"]:
            raise InputError(f"{file} does not list {name}; deploy the target again")
    _check_cases(file, manifest)


def _has_sizes(dim: str, axes: Mapping[str, Sequence[int]]) -> bool:
    """Return True if a dimension is an axis, or is tied to axes and has a size at both ends of their ranges."""
    try:
        ends = [size_of(dim, {name: sizes[end] for name, sizes in axes.items()}) for end in (0, 1, 2)]
    except InputError:
        return False
    return all(_is_whole(size, 1) for size in ends)


def _check_cases(file: Path, manifest: Mapping[str, Any]) -> None:
    """Raise InputError for an axis without a range, and for a case that is none of this graph."""
    named = {size for spec in manifest["inputs"] for size in spec["shape"] if isinstance(size, str)}
    if unknown := {size for size in named if not _has_sizes(size, manifest["axes"])}:
        raise InputError(
            f"{file} has no usable 'axes'; expected the range of {min(unknown)!r}; deploy the target again"
        )
    names = {kind: {spec["name"] for spec in manifest[kind]} for kind in ("inputs", "outputs")}
    for place, case in enumerate(manifest["cases"]):
        outputs = {output["name"] for output in case["outputs"]}
        rows = {*case["row_inputs"]} <= names["inputs"] and {*case["row_outputs"]} <= outputs
        if not rows or {*case["inputs"]} != names["inputs"] or outputs != names["outputs"]:
            raise InputError(
                f"{file} has no usable 'cases', [{place}]; expected the inputs and outputs of the graph; deploy the "
                "target again"
            )
        if missing := {*manifest["axes"]} - {*case["sizes"]}:
            raise InputError(
                f"{file} has no usable 'cases', [{place}], 'sizes'; expected one for {min(missing)!r}; deploy the "
                "target again"
            )
