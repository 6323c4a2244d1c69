"""Export every operator of PyTorch by PyTorch's own samples, with torch.onnx alone and with attn2trt.

Usage: python benchmarks/torch_operators.py [--jobs N] [--resume] [OPERATOR ...]. Needs expecttest. The samples are
those that PyTorch tests its operators with; one of each operator is taken. Without names it writes
benchmarks/results/torch_operators.json and docs/torch_operators.md after every row, and takes up an interrupted run of
the same code and versions; --resume keeps the rows of other runs that are right, too.
"""

from __future__ import annotations

import os
import re
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import torch
from code_hash import code_hash
from outcomes import Outcome, ours, plain, shorten
from page_text import generated, table
from stored_results import heading, of_earlier_runs, row_options, rows_before, side_by_side, store
from torch import Tensor, nn
from torch.utils._pytree import tree_flatten, tree_leaves, tree_map, tree_unflatten

ROOT = Path(__file__).parent.parent
RESULTS, PAGE = ROOT / "benchmarks/results/torch_operators.json", ROOT / "docs/torch_operators.md"
ROOMS = ("core", "modules", "export", "engines", "validate", "workflows")
# One size of each axis is traced; so many less and more are claimed as well.
BELOW, ABOVE = 2, 4
# Nobody calls these: PyTorch's own steps, its derivatives, and what it has for other kinds of tensors.
PRIVATE = ("_", "native_", "torch.ops", "ops.", "jiterator", "sparse.", "masked.")
WAYS: dict[str, Callable[..., Outcome]] = {"plain": plain, "ours": ours}
ANY, TRACED = "any size", "the traced size"


class Call(nn.Module):
    """Calls an operator with one input, or a list of inputs, and further arguments: tensors among them are buffers."""

    def __init__(self, operator: Callable[..., Any], further: Any, *, is_list: bool) -> None:
        super().__init__()
        self.operator, self.is_list = operator, is_list
        leaves, self.tree = tree_flatten(further)
        self.values = [None if isinstance(leaf, Tensor) else leaf for leaf in leaves]
        for number, leaf in enumerate(leaves):
            if isinstance(leaf, Tensor):
                self.register_buffer(str(number), leaf.detach().clone())

    def forward(self, *inputs: Tensor) -> Any:
        leaves = [self._buffers.get(str(number), value) for number, value in enumerate(self.values)]
        args, kwargs = tree_unflatten(leaves, self.tree)
        found = self.operator(list(inputs) if self.is_list else inputs[0], *args, **kwargs)
        return tree_map(lambda leaf: torch.view_as_real(leaf) if _is_complex(leaf) else leaf, found)


def _is_complex(value: Any) -> bool:
    return isinstance(value, Tensor) and value.is_complex()


@cache
def operators() -> dict[str, Any]:
    """PyTorch's operators, as its tests describe them, by name."""
    from torch.testing._internal.common_methods_invocations import op_db

    named = {".".join(filter(None, (one.name, one.variant_test_name))): one for one in op_db}
    return {name: one for name, one in named.items() if not name.startswith(PRIVATE) and "backward" not in name}


def sample(name: str) -> tuple[Call, tuple[Tensor, ...]] | None:
    """Return the first of an operator's samples that reads float32, and its inputs; None if there is none."""
    torch.manual_seed(0)
    operator = operators()[name]
    for one in operator.sample_inputs("cpu", torch.float32):
        inputs = [one.input] if isinstance(one.input, Tensor) else one.input
        if not isinstance(inputs, (list, tuple)) or not inputs or not all(map(_is_read, inputs)):
            continue
        given = tree_leaves((one.args, one.kwargs))
        if any(isinstance(leaf, Tensor) and leaf.dtype == torch.float64 for leaf in given):
            continue
        call = Call(operator.op, (one.args, one.kwargs), is_list=not isinstance(one.input, Tensor)).eval()
        found = tuple(value.detach().clone() for value in inputs)
        if _runs(call, found):
            return call, found
    return None


def _runs(call: Call, inputs: Sequence[Tensor]) -> bool:
    try:
        with torch.no_grad():
            call(*(value.clone() for value in inputs))
    except Exception:  # the operator may raise anything
        return False
    return True


def _is_read(value: Any) -> bool:
    return isinstance(value, Tensor) and value.dtype == torch.float32 and value.dim() > 0 and value.numel() > 1


def measure(name: str) -> dict[str, Any]:
    """One row: what the plain exporter's graph and ours came to; nothing if no sample can be read."""
    row: dict[str, Any] = {"operator": name}
    found = sample(name)
    if found is None:
        return row
    call, inputs = found
    sizes = [] if call.is_list else [(axis, size) for axis, size in enumerate(inputs[0].shape) if size > 1]
    ends = [[max(2, size - BELOW) for _, size in sizes], [size + ABOVE for _, size in sizes]]
    row["any size"] = bool(sizes) and all(_runs(call, [_resized(inputs[0], sizes, end)]) for end in ends)
    ranges = ",".join(f"dim{axis}={low}:{size}:{high}" for (axis, size), low, high in zip(sizes, *ends, strict=True))
    for way, run in WAYS.items():
        row[way] = _outcome(run, call, inputs, ranges if row["any size"] else "")
    return row


def _resized(x: Tensor, sizes: Sequence[tuple[int, int]], end: Sequence[int]) -> Tensor:
    shape = list(x.shape)
    for (axis, _), size in zip(sizes, end, strict=True):
        shape[axis] = size
    return torch.rand(shape)


def _outcome(run: Callable[..., Outcome], call: Call, inputs: Sequence[Tensor], ranges: str) -> dict[str, Any]:
    """The outcome with every axis dynamic; if that has none, or PyTorch takes no other sizes, at the traced ones."""
    found, why, dynamic = None, "", ""
    for dynamic in filter(None, (ranges, "none")):
        with tempfile.TemporaryDirectory() as folder:
            found = run(call, tuple(inputs), dynamic, Path(folder))
            why = re.sub(rf"{re.escape(folder)}{os.sep}[\w.-]*{os.sep}?", "", found.why)
        if found.result in ("right", "silently wrong"):
            break
    assert found is not None
    return {"result": found.result, "why": shorten(why), "sizes": TRACED if dynamic == "none" else ANY}


def page(document: dict[str, Any]) -> str:
    """The docs page."""
    rows = [row for row in document["rows"] if "ours" in row]
    any_size = [row for row in rows if row["any size"]]
    right = [row for row in rows if all(_is_right(row, way) for way in WAYS)]
    lines = [
        "# Operators of PyTorch",
        "",
        generated("python benchmarks/torch_operators.py", document),
        *of_earlier_runs(document["rows"]),
        "",
        f"{len(rows)} operators, each by the first float32 sample that PyTorch tests it with; a module calls the",
        f"operator alone. {len(any_size)} of them take their input at other sizes too: every axis of it was dynamic,",
        "and if that came to nothing, none (*the traced size*). The others take one size alone, that of another",
        "argument, which the module holds. *Plain*: `torch.onnx.export(dynamo=True, dynamic_shapes=…)`. *Ours*:",
        "`attn2trt.deploy`. Each graph was run in ONNX Runtime at the traced sizes, at every corner of the ranges and",
        "at ten random sizes inside, and compared with PyTorch in float64. TensorRT for RTX must build ours, too.",
        "",
        *(f"- {way}: {_total(rows, way)}" for way in WAYS),
        "",
        "## Right at every size that PyTorch takes, both",
        "",
        ", ".join(f"`{row['operator']}`" for row in right),
        "",
        "## The others",
        "",
        *table(
            "operator | plain | ours",
            ((f"`{row['operator']}`", *(_cell(row, way) for way in WAYS)) for row in rows if row not in right),
        ),
    ]
    return "\n".join(lines) + "\n"


def _is_right(row: dict[str, Any], way: str) -> bool:
    return row[way]["result"] == "right" and (row[way]["sizes"] == ANY or not row["any size"])


def _short(row: dict[str, Any], way: str) -> str:
    if row[way]["result"] != "right":
        return str(row[way]["result"])
    return "right" if _is_right(row, way) else f"right at {TRACED} alone"


def _total(rows: Sequence[dict[str, Any]], way: str) -> str:
    count = Counter(_short(row, way) for row in rows)
    return ", ".join(f"{number} {result}" for result, number in count.most_common())


def _cell(row: dict[str, Any], way: str) -> str:
    if row[way]["result"] == "right":
        return _short(row, way)
    return f"**{row[way]['result']}**: {row[way]['why'][:160]}"


def _is_kept(row: dict[str, Any]) -> bool:
    return row.get("ours", {}).get("result") == "right"


def main(names: list[str], jobs: int, *, resume: bool) -> int:
    """Measure every operator; exit code 1 if one of ours is wrong without saying so, or raised."""
    document: dict[str, Any] = heading("torch", "onnx", "onnxscript", "onnxruntime-gpu", "onnxsim") | {
        "sources": code_hash(ROOMS),
        "rows": [],
    }
    if not names:
        document["rows"] = rows_before(RESULTS, document, lambda row: resume and _is_kept(row))
    rows = {row["operator"]: row for row in document["rows"]}
    wanted = [name for name in names or operators() if name not in rows]
    for row in side_by_side(measure, [(name,) for name in wanted], jobs):
        rows[row["operator"]] = row
        print(row["operator"], *(f"{row[way]['result']} {row[way]['why']}" for way in WAYS if way in row), sep=" | ")
        sys.stdout.flush()
        document["rows"] = [rows[name] for name in names or operators() if name in rows]
        if not names:
            store(document, RESULTS, PAGE, page(document))
    bad = [row for row in document["rows"] if row.get("ours", {}).get("result") in ("silently wrong", "traceback")]
    return 1 if bad else 0


if __name__ == "__main__":
    options = row_options(__doc__, "OPERATOR", kept="the right rows of other runs, too").parse_args()
    sys.exit(main(options.names, options.jobs, resume=options.resume))
