"""The types of a manifest's entries, for the type checker and for ``typed_json``, which checks a file that is read.

An entry that is not required may be missing from the bundle of an earlier version, or belongs to what only some
bundles have. Entries that are not named here are let be, so that a later version may write more.
"""

import re
from typing import Annotated, Any, Literal, TypedDict

from ..errors import InputError
from .precision import PRECISIONS
from .tensor_spec import Axis
from .typed_json import Is, NotRequired, is_number, is_whole


def _text(expected: str, pattern: str) -> Is:
    return Is(expected, lambda value: isinstance(value, str) and re.fullmatch(pattern, value) is not None)


def _is_numeral(value: Any) -> bool:
    try:
        is_negative = float(value) < 0
    except (TypeError, ValueError, OverflowError):
        return False
    return not is_negative and (isinstance(value, str) or is_number(value))


def _is_range(value: Any) -> bool:
    if not (isinstance(value, list) and len(value) in (3, 4) and all(is_whole(size, 1) for size in value)):
        return False
    try:
        Axis(*value)
    except InputError:
        return False
    return True


def _is_dimension(value: Any) -> bool:
    return isinstance(value, str) or is_whole(value, 0)


def _is_precision(value: Any) -> bool:
    return isinstance(value, str) and value in PRECISIONS


Number = Annotated[float | str, Is("a number of 0 or more", _is_numeral)]  # strict JSON has no infinity: "inf", "nan"
Sha256 = Annotated[str, _text("64 hexadecimal digits", "[0-9a-f]{64}")]
Dtype = Annotated[str, _text("a dtype", r"u?int(8|16|32|64)|float(16|32|64)|bfloat16|bool")]
GraphFile = Annotated[str, _text("the name of a graph", r"model[\w.+-]*\.onnx")]
PrecisionName = Annotated[str, Is(f"one of {', '.join(PRECISIONS)}", _is_precision)]
Dimension = Annotated[int | str, Is("a size, or an axis or an expression of axes", _is_dimension)]
AxisNumber = Annotated[int, Is("the number of an axis", is_whole)]
Size = Annotated[int, Is("a size", lambda value: is_whole(value, 1))]
Range = Annotated[list[int], Is("[min, opt, max] of sizes, in order", _is_range)]


class FileEntry(TypedDict):
    """A file of the bundle; ``bytes`` is its size."""

    sha256: Sha256
    role: NotRequired[str]
    bytes: NotRequired[int]


class TargetEntry(TypedDict):
    """The target: its name, its source, and its weights in words."""

    name: str
    paper: NotRequired[str]
    source: NotRequired[str]
    weights: NotRequired[str | None]


class BuildEntry(TypedDict):
    """The arguments that build the module again from the target's name."""

    seed: int
    pretrained: bool
    checkpoint: bool
    random: NotRequired[bool]


class TensorEntry(TypedDict):
    """An input or output; names and expressions of axes stand among the sizes of its shape."""

    name: str
    shape: list[Dimension]
    dtype: Dtype
    low: NotRequired[float | None]
    high: NotRequired[float | None]
    layout: NotRequired[Literal["nchw", "nhwc"]]


class FloorEntry(TypedDict):
    """PyTorch's own rounding, relative to the output: over the whole and in the largest element."""

    l2: Number
    max: Number


class LowerFloorEntry(FloorEntry):
    """The floors of a lower precision; ``ties``: elements that its rounding decides are recorded."""

    ties: NotRequired[bool]


class RecordedOutput(FloorEntry):
    """An output of a case, with its floors in float32 and, by precision, below it."""

    name: str
    ties: bool
    lower: NotRequired[dict[str, LowerFloorEntry]]


class ChoiceEntry(TypedDict):
    """A choice among places in the truth: its operator, the sizes of its scores, its axis and its order."""

    operator: str
    scores: list[int]
    dim: AxisNumber | None
    descending: bool
    sorted: bool


class CaseEntry(TypedDict):
    """A recorded case; its arrays are in the reference file, under its ``key``.

    With ``io``, it is for graphs whose inputs and outputs have that type alone. ``choices`` are there if rounding can
    change one of them.
    """

    key: str
    name: str
    why: str
    kind: str
    sizes: dict[str, Size]
    inputs: list[str]
    row_inputs: list[str]
    rows_alone: bool
    outputs: list[RecordedOutput]
    row_outputs: list[str]
    largest: Number
    no_float64: NotRequired[str]
    io: NotRequired[Dtype]
    choices: NotRequired[list[ChoiceEntry]]


class KeptEntry(TypedDict):
    """A node that stays in float32."""

    module: str
    why: str


class PrecisionEntry(TypedDict):
    """A graph below float32.

    ``float32`` has the reason for each module that stays in it, ``kept`` for each node; ``keep_fp32`` is what the user
    asked for. ``ranges`` are those of int8 and fp8 by tensor, found by ``calibration``. In int8-fp16 ``placement`` is
    what says where pairs stand.
    """

    file: GraphFile
    opset: int
    oldest_tensorrt: str
    lowered: int
    float32: dict[str, str]
    notes: list[str]
    modules: NotRequired[dict[str, str]]
    inputs_and_outputs: NotRequired[Literal["float32", "float16"]]
    kept: NotRequired[dict[str, KeptEntry]]
    keep_fp32: NotRequired[list[str]]
    ranges: NotRequired[dict[str, Any]]
    calibration: NotRequired[str]
    placement: NotRequired[str]
    trtexec: NotRequired[dict[str, str]]


class TriedEntry(TypedDict):
    """One verdict of the search for the fewest bits."""

    precision: str
    kept: list[str]
    said: str


class SearchEntry(TypedDict):
    """The search for the fewest bits that pass."""

    tried: list[TriedEntry]
    chosen: str


class PreprocessingEntry(TypedDict):
    """The way from a photograph to the input, as ``core.preprocessing.Preprocessing`` describes each field.

    A bundle of an earlier version has ``size``, ``mean``, ``std``, ``interpolation``, ``crop`` and perhaps ``order``.
    """

    size: NotRequired[list[int]]
    resize: NotRequired[str]
    crop: NotRequired[float]
    interpolation: NotRequired[str]
    antialias: NotRequired[bool]
    pad: NotRequired[list[float]]
    anchor: NotRequired[str]
    scale: NotRequired[float]
    mean: NotRequired[list[float]]
    std: NotRequired[list[float]]
    order: NotRequired[str]


class SimplifiedEntry(TypedDict):
    """If the graph was simplified, and why not."""

    done: bool
    why_not: str
    interrupted: NotRequired[bool]


class ClassEntry(TypedDict):
    """A class of the user's own, and the modules that are of it."""

    name: str
    source: str
    modules: list[str]


class ValidatedEntry(TypedDict):
    """The verdict of ``validate`` on a machine.

    ``network`` has the errors along the network by stage, ``predictions`` what was found on a data set.
    """

    verdict: dict[str, Any]
    machine: dict[str, Any]
    max_error: NotRequired[float | None]
    network: NotRequired[dict[str, list[str]]]
    predictions: NotRequired[dict[str, Any]]


class TunedEntry(TypedDict):
    """The graph that ``tune`` wrote; ``graph`` is the hash of the one that it was made from."""

    file: GraphFile
    graph: NotRequired[Sha256]


class TunedGraphEntry(TypedDict):
    """The graph that ``tune`` wrote for a TensorRT.

    ``flavour`` is the product, ``graph`` the hash of the bundle's graph of this precision when it was tuned, and
    ``modules`` has the path of the PyTorch module of each node. ``plan`` is the hash of the plan that was timed and
    judged: another plan of the graph was not.
    """

    flavour: str
    precision: PrecisionName
    file: GraphFile
    graph: Sha256
    modules: dict[str, str]
    plan: NotRequired[Sha256]


class PlanEntry(TypedDict):
    """A plan; ``engines.tensorrt.plans`` reads the other entries of it."""

    file: str


class OnnxFileEntry(TypedDict):
    """The ONNX file that a bundle was made of, and the hash of each file beside it that holds weights."""

    name: str
    sha256: Sha256
    weights: NotRequired[dict[str, Sha256]]
    opset: NotRequired[int]
    ir_version: NotRequired[int]
    producer: NotRequired[str]


class Manifest(TypedDict):
    """The content of ``bundle.json``."""

    format: int
    target: TargetEntry
    files: dict[str, FileEntry]
    axes: dict[str, Range]
    inputs: list[TensorEntry]
    outputs: list[TensorEntry]
    cases: list[CaseEntry]
    verdict: dict[str, Any]
    tool: NotRequired[str]
    key: NotRequired[str]
    build: NotRequired[BuildEntry | None]
    opset: NotRequired[int]
    narrowed: NotRequired[dict[str, str]]
    default_batch: NotRequired[str]
    notes: NotRequired[list[str]]
    preprocessing: NotRequired[PreprocessingEntry]
    simplified: NotRequired[SimplifiedEntry]
    interrupted: NotRequired[bool]
    program: NotRequired[str]
    modules: NotRequired[dict[str, str]]
    cases_left_out: NotRequired[list[str]]
    hidden: NotRequired[list[str]]
    trtexec: NotRequired[str]
    precisions: NotRequired[dict[str, PrecisionEntry]]
    precision_search: NotRequired[SearchEntry]
    plans: NotRequired[list[PlanEntry]]
    tuned: NotRequired[TunedEntry | None]
    tuned_graphs: NotRequired[list[TunedGraphEntry]]
    classes: NotRequired[list[ClassEntry]]
    precision: NotRequired[PrecisionName]
    own_levels: NotRequired[bool]
    onnx_file: NotRequired[OnnxFileEntry]
    against: NotRequired[str | None]
    command: NotRequired[str]
    validated: NotRequired[ValidatedEntry]
    benchmark: NotRequired[dict[str, Any]]
    cost: NotRequired[dict[str, Any]]
    versions: NotRequired[dict[str, str]]
    seconds: NotRequired[dict[str, float]]
    sha256: NotRequired[Sha256]
