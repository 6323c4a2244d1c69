"""Say what TensorRT's parser or builder complains of, in one line that names the PyTorch module."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

MOST = 300
# The module whose path is empty, in words.
ROOT = "the model itself"
SEE_LOG = "see the log beside the plan"
NO_REASON = "it does not say why"


@dataclass(frozen=True)
class NodeError:
    """An error of the parser: which node of the graph, by index, name and operator, and TensorRT's own words."""

    index: int
    name: str
    operator: str
    text: str


def parser_message(errors: Sequence[NodeError], modules: Mapping[str, str], library: str) -> str:
    """One line: the first node that TensorRT cannot take, the module that it comes from, and what to do.

    ``modules`` has the PyTorch module of each node; ``library`` is the product with its version.
    """
    if not errors:
        return f"{library} cannot read the graph and does not say why; {SEE_LOG}"
    first = errors[0]
    more = f" ({len(errors) - 1} more in the log)" if len(errors) > 1 else ""
    # An operator that the product lacks altogether is refused with this word alone.
    text = f"it has no operator {first.operator}" if first.text.strip() == "false" else first.text
    remedy = advice(f"({first.operator}) {text}")
    return f"{library} cannot read {_place(first, modules)}: {clean(text)}{more}; {remedy}"


def driver_message(node: NodeError, modules: Mapping[str, str], library: str) -> str:
    """One line: the node that TensorRT reads only on a machine with a GPU, and the command to run there."""
    return (
        f"{library} reads {_place(node, modules)} only with a GPU's driver, which is not here; "
        "run attn2trt compile on the machine with the GPU"
    )


def builder_message(text: str, modules: Mapping[str, str], library: str) -> str:
    """One line: why the builder made no plan, the module of the first node that it names, and what to do."""
    reason = text or NO_REASON
    # Names are looked for whole, the longest first: one node's may begin another's.
    words = set(re.split(r"[\s+,(){}\[\]:|]+", text))
    named = next((name for name in sorted(modules, key=len, reverse=True) if name in words), "")
    node = f" node {named}{_of_module(named, modules)}:" if named else ""
    return f"{library} cannot build the plan:{node} {clean(reason)}; {advice(reason)}"


def _place(node: NodeError, modules: Mapping[str, str]) -> str:
    what = f"node {node.name} ({node.operator})" if node.name else f"node {node.index}"
    return f"{what}{_of_module(node.name, modules)}"


def _of_module(node: str, modules: Mapping[str, str]) -> str:
    if node not in modules:
        return ""
    place = modules[node] or ROOT
    return f" of {place}" if place.startswith(ROOT) else f" of module {place}"


# What TensorRT complains of, and what to do about it; the first that is found is taken.
ADVICE = (
    (r"^\(DeformConv\)", "export the PyTorch module with --opset 17, which writes it out"),
    (
        r"unsupported reduction type",
        "add up by a product with torch.nn.functional.one_hot of the indices, in place of scatter_add",
    ),
    (
        r"no importer registered|unsupported op|no parser registered|it has no operator|plugin .*not found",
        "replace that operation in the module, or use a newer TensorRT",
    ),
    (
        r"has type Int32 but must have type",
        "quantise again and leave biases in float32 (extra_options QuantizeBias=False of onnxruntime.quantization)",
    ),
    (
        r"non-zero zero point",
        "quantise again with zeros of 0 (ActivationSymmetric=True, WeightSymmetric=True and signed types in "
        "onnxruntime.quantization)",
    ),
    (r"maxKernelDimsProduct", "pool by a smaller window, or by mean((2, 3)) or amax((2, 3)) if the whole map is meant"),
    (r"only .* (?:is|are) supported", "keep it in float32 with --keep-fp32, or replace that operation"),
    (r"could not infer output types", "keep it in float32 with --keep-fp32"),
    (r"cannot compile for target", "leave that compute capability out in --for"),
    (r"opset|ir.?version", "export with a lower --opset, or use a newer TensorRT"),
    (
        r"out of memory|insufficient.*workspace|CUDA error 2\b",
        "free memory of the GPU, give a smaller --workspace or narrower profiles",
    ),
    (r"could not find any implementation", "give a larger --workspace, or leave out --without-tactics"),
)


def advice(text: str) -> str:
    """Return what to do about an error of TensorRT."""
    found = (what for pattern, what in ADVICE if re.search(pattern, text, re.IGNORECASE))
    return next(found, SEE_LOG)


def clean(text: str) -> str:
    """Drop the parser's own file names and what it asserted if it says what that means; return one line.

    Of a refusal without a word it says so. That no driver is here (CUDA error 35) is left out: it says nothing of a
    graph, since TensorRT for RTX builds without one.
    """
    text = re.sub(r"Assertion failed: .*?: (?=\w)", "", text, flags=re.DOTALL)
    text = re.sub(r"\[\S+\] Error Code 1: Cuda Runtime \([^()]*\(cudaError 35\b[^()]*\)\)", "", text)
    text = re.sub(r"\bIn (function|node) [^:]*:?", "", text)
    text = re.sub(r"\[?[\w./-]+\.(?:cpp|h|hpp|cc):\d+\]?:?", "", text)
    return " ".join(text.split())[:MOST].rstrip(" .;") or NO_REASON
