"""What TensorRT's parser and builder complain of, in one line that names the PyTorch module."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

MOST = 300


@dataclass(frozen=True)
class NodeError:
    """An error of the parser: which node of the graph, by index, name and operator, and TensorRT's own words."""

    index: int
    name: str
    operator: str
    text: str


def parser_message(errors: Sequence[NodeError], modules: Mapping[str, str], version: str) -> str:
    """One line: the first node that TensorRT cannot take, the module that it comes from, and what to do."""
    if not errors:
        return f"TensorRT {version} cannot read the graph and does not say why; see the log beside the plan"
    first = errors[0]
    what = f"node {first.name} ({first.operator})" if first.name else f"node {first.index}"
    module = modules.get(first.name, "")
    where = f" of module {module}" if module else ""
    more = f" ({len(errors) - 1} more in the log)" if len(errors) > 1 else ""
    return f"TensorRT {version} cannot read {what}{where}: {clean(first.text)}{more}; {advice(first.text)}"


def advice(text: str) -> str:
    """What to do about an error of TensorRT."""
    if re.search(r"no importer registered|unsupported op|no parser registered", text, re.IGNORECASE):
        return "replace that operation in the module, or use a newer TensorRT"
    if re.search(r"opset|ir.?version", text, re.IGNORECASE):
        return "export with a lower --opset, or use a newer TensorRT"
    if re.search(r"out of memory|insufficient.*workspace|CUDA error 2\b", text, re.IGNORECASE):
        return "free memory of the GPU, give a smaller --workspace or narrower profiles"
    if re.search(r"could not find any implementation", text, re.IGNORECASE):
        return "give a larger --workspace, or leave out --without-tactics"
    return "see the log beside the plan"


def clean(text: str) -> str:
    """Without the parser's own file names and assertions' positions, on one line."""
    text = re.sub(r"\bIn (function|node) [^:]*:?", "", text)
    text = re.sub(r"\[?[\w./-]+\.(?:cpp|h|hpp|cc):\d+\]?:?", "", text)
    return " ".join(text.split())[:MOST]
