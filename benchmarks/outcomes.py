"""The outcome for one module: the plain exporter's graph and ours, each compared with eager PyTorch in float64.

Shared by traps.py, third_party.py and families.py. The comparison here is independent of ``attn2trt.validate``: its
own sizes, its own values, its own tolerance. Equal scores alone are ranked as there: PyTorch may pick any of them.
"""

from __future__ import annotations

import copy
import io
import itertools
import logging
import os
import random
import sys
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

import attn2trt
from attn2trt.core.bundle import Bundle
from attn2trt.core.tensor_spec import Axis, TensorSpec, optima
from attn2trt.engines.tensorrt.flavours import FLAVOURS
from attn2trt.errors import Attn2trtError
from attn2trt.export.trace.tracing import for_signature
from attn2trt.modules.copying import copy_module
from attn2trt.modules.own_module import from_module
from attn2trt.modules.seen_operators import uncompiled
from attn2trt.validate.equal_scores import in_order_mode
from attn2trt.validate.verdict import (
    AGAINST_FLOAT32,
    BUILT,
    FAILED,
    NOT_CHECKED,
    OVER_BUDGET,
    PASSED,
    PASSES,
    REFUSED,
    STATUSES,
    Verdict,
)

ROOT = Path(__file__).parent.parent
# Right: an error below this many times what eager float32 loses on the same input, or below BUDGET.
ROUNDINGS, BUDGET = 30.0, 1e-5
RANDOM_SIZES = 10


@dataclass(frozen=True)
class Outcome:
    """``result`` is right, silently wrong, failed verdict, false alarm, refused, fails or traceback; ``why`` a line.

    A false alarm is a failed verdict over a graph that is right; one that TensorRT alone did not take is refused.
    ``status`` is what the verdict as a whole says.
    """

    result: str
    why: str = ""
    sizes: int = 0
    constraints: str = ""
    status: str = ""

    def to_json(self) -> dict[str, Any]:
        return {key: value for key, value in asdict(self).items() if value}


def combinations(axes: Mapping[str, Axis]) -> list[dict[str, int]]:
    """The traced sizes, every corner of the ranges, and seeded sizes from inside of them."""
    rng = random.Random(0)
    corners = [
        dict(zip(axes, sizes, strict=True)) for sizes in itertools.product(*((a.min, a.max) for a in axes.values()))
    ]
    inside = [{name: rng.choice(axis.sizes) for name, axis in axes.items()} for _ in range(RANDOM_SIZES)]
    traced = optima(axes)
    found: list[dict[str, int]] = []
    for sizes in [traced, *corners, *inside]:
        if sizes not in found:
            found.append(sizes)
    return found


def compare(
    path: Path, module: nn.Module, inputs: Sequence[TensorSpec], axes: Mapping[str, Axis], *, is_claimed: bool
) -> Outcome:
    """Run the graph at every combination: right, silently wrong, or fails if ONNX Runtime raises.

    Sizes that PyTorch itself cannot run are an error of whoever claims them, and left out if nobody did.
    """
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:
        return Outcome("fails", f"ONNX Runtime: {line(error)}")
    tried = combinations(axes)
    names = [value.name for value in session.get_inputs()]
    for sizes in tried:
        values = _values(inputs, sizes)
        at = ", ".join(f"{name} {size}" for name, size in sizes.items())
        try:
            single = _eager(module, values, torch.float32)
        except Exception as error:
            if is_claimed:
                return Outcome("silently wrong", f"claims {at}, and PyTorch itself fails there: {line(error)}")
            continue
        try:
            double = _eager(module, values, torch.float64)
        except Exception:  # a module that cannot run in float64 is compared with itself in float32
            double = single
        feeds = {name: value.numpy() for name, value in zip(names, values, strict=False)}
        try:
            outputs = session.run(None, feeds)
        except Exception as error:
            return Outcome("fails", f"at {at}: {line(error)}", len(tried))
        wrong = _difference(outputs, single, double)
        if wrong:
            return Outcome("silently wrong", f"at {at}: {wrong}", len(tried))
    return Outcome("right", sizes=len(tried))


def plain(module: nn.Module, example: tuple[Tensor, ...], dynamic: str, folder: Path) -> Outcome:
    """torch.onnx.export(dynamo=True) as its documentation says, then compared."""
    target = from_module(copy.deepcopy(module), example, dynamic=dynamic)
    dims = {
        name: torch.export.Dim(name.replace(".", "_"), min=axis.min, max=axis.max) for name, axis in target.axes.items()
    }
    shapes = tuple(
        {index: dims[dim] for index, dim in enumerate(spec.shape) if isinstance(dim, str)} for spec in target.inputs
    )
    path = folder / "plain.onnx"
    try:
        with _quiet():
            program = torch.onnx.export(
                copy.deepcopy(module),
                example,
                dynamo=True,
                dynamic_shapes=for_signature(module, shapes),
                verbose=False,
            )
            program.save(str(path))
    except Exception as error:
        cause: BaseException = error
        while cause.__cause__ is not None:
            cause = cause.__cause__
        return Outcome("fails", line(cause))
    return compare(path, module, target.inputs, target.axes, is_claimed=False)


def ours(module: nn.Module, example: tuple[Tensor, ...], dynamic: str, folder: Path) -> Outcome:
    """attn2trt.deploy, then its model.onnx compared over the ranges that its manifest claims."""
    target = from_module(copy.deepcopy(module), example, dynamic=dynamic)

    def deploy() -> Bundle:
        return attn2trt.deploy(copy.deepcopy(module), example, dynamic=dynamic, out=folder / "bundle", force=True)

    return judge(deploy, lambda: module, target.inputs)


def judge(deploy: Callable[[], Bundle], build: Callable[[], nn.Module], inputs: Sequence[TensorSpec]) -> Outcome:
    """Return the outcome of ``deploy``, its graph compared with the module that ``build`` gives."""
    try:
        with _quiet():
            bundle = deploy()
    except Attn2trtError as error:
        return Outcome("refused" if "\n" not in str(error) else "traceback", str(error))
    except Exception as error:
        return Outcome("traceback", f"{type(error).__name__}: {line(error)}")
    verdict = Verdict.from_json(bundle.manifest["verdict"])
    status = status_of(bundle.manifest["verdict"]["stages"])
    failure = verdict.first_failure
    claimed = {name: _axis(entry) for name, entry in bundle.manifest["axes"].items()}
    found = compare(bundle.model_path, build(), inputs, claimed, is_claimed=True)
    if failure is not None:
        is_right = found.result == "right"
        why = f"{failure.label}: {failure.why}"
        if is_right and failure.stage.runtime in FLAVOURS:  # its parser or builder took no part in what was compared
            return Outcome("refused", why, status=status)
        return Outcome("false alarm" if is_right else "failed verdict", why, status=status)
    stated = ", ".join(f"{name} {axis}" for name, axis in claimed.items() if axis.multiple > 1)
    result = "silently wrong" if found.result == "fails" else found.result
    return Outcome(result, found.why, found.sizes, stated, status)


def status_of(stages: Sequence[Mapping[str, Any]]) -> str:
    """The status of a whole verdict, from the stages that a manifest or ``--json`` holds: the worst that was judged."""
    found = {stage["status"] for stage in stages}
    if FAILED in found:
        return FAILED
    is_incomplete = any(stage["status"] == NOT_CHECKED and stage["comparisons"] for stage in stages)
    if is_incomplete or not found & {*PASSES}:
        return NOT_CHECKED
    return next((status for status in (AGAINST_FLOAT32, OVER_BUDGET) if status in found), PASSED)


def count_statuses(rows: Iterable[Mapping[str, Any]]) -> list[str]:
    """Lines of a page that count rows by the status of their verdicts, and false alarms; none for rows without."""
    rows = [row for row in rows if row.get("status")]
    count = Counter(row["status"] for row in rows)
    alarms = sum(row["result"] == "false alarm" for row in rows)
    told = [f"{status}: {count[status]}" for status in STATUSES if status not in (BUILT, REFUSED)]
    return [f"Statuses of {len(rows)} verdicts: {'; '.join(told)}. False alarms: {alarms}."] if rows else []


def line(error: BaseException) -> str:
    """The first line of an error's text, shortened."""
    lines = [part.strip() for part in str(error).splitlines() if part.strip()]
    return (lines[0] if lines else type(error).__name__)[:240]


def shorten(text: str, *folders: Path) -> str:
    """``text`` on one line, fit for a cell of a table: no bar, no link, and no folder of this machine.

    Paths in ``folders``, the checkout and the environment begin behind those.
    """
    # the package may be imported by a link to the checkout
    for folder in (*folders, Path(attn2trt.__file__).parent, ROOT, sys.prefix):
        text = text.replace(f"{folder}{os.sep}", "")
    return " ".join(text.split()).replace("|", "\\|").replace("](", "]\\(")


def _axis(entry: Any) -> Axis:
    return Axis(*entry) if isinstance(entry, list) else Axis(**entry)


def _values(inputs: Sequence[TensorSpec], sizes: Mapping[str, int]) -> list[Tensor]:
    generator = torch.Generator().manual_seed(sum((i + 1) * size for i, size in enumerate(sizes.values())))
    found = []
    for spec in inputs:
        shape = spec.resolve(sizes)
        if spec.bounds is None:
            value = torch.randn(shape, generator=generator)
            if len(shape) > 2:  # channels of unequal means and sizes, or gates would never move
                value += torch.randn((*shape[:2], *(1 for _ in shape[2:])), generator=generator)
            found.append(value)
        else:
            low, high = spec.bounds
            if spec.dtype.startswith("float"):
                found.append(low + (high - low) * torch.rand(shape, generator=generator))
            else:
                drawn = torch.randint(int(low), int(high) + 1, shape, generator=generator)
                found.append(drawn.to(getattr(torch, spec.dtype)))
    return found


def _eager(module: nn.Module, values: Sequence[Tensor], dtype: torch.dtype) -> list[np.ndarray[Any, Any]]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        with torch.no_grad(), _quiet(), uncompiled(), in_order_mode():
            torch.manual_seed(0)
            # a copy: some modules write into their input
            given = [value.to(dtype, copy=True) if value.is_floating_point() else value.clone() for value in values]
            copied = copy_module(module)  # with hooks of its own
            # not .to(dtype), which makes real numbers of complex ones
            found = (copied.double() if dtype == torch.float64 else copied.float()).eval()(*given)
    finally:
        torch.set_default_dtype(before)
    return [leaf.numpy() for leaf in tree_leaves(found) if isinstance(leaf, Tensor)]


def _difference(
    outputs: Sequence[Any], single: Sequence[np.ndarray[Any, Any]], double: Sequence[np.ndarray[Any, Any]]
) -> str:
    """Return what is wrong with ``outputs``, or nothing."""
    if len(outputs) != len(double):
        return f"{len(outputs)} outputs, PyTorch has {len(double)}"
    for ours_, near, truth in zip(outputs, single, double, strict=True):
        if ours_.shape != truth.shape:
            return f"shape {ours_.shape} where PyTorch has {truth.shape}"
        if truth.dtype.kind != "f":
            allowed = (near != truth).mean() * 2
            if (ours_ != truth).mean() > allowed:
                return f"{(ours_ != truth).mean():.0%} of the integers differ"
            continue
        if not np.array_equal(np.isfinite(ours_), np.isfinite(truth)):
            return "NaN or Inf, PyTorch has none there, or the reverse"
        finite = np.isfinite(truth)
        for norm in (np.linalg.norm, lambda v: np.abs(v).max(initial=0.0)):
            scale = float(norm(truth[finite])) or 1.0
            error = float(norm((ours_ - truth)[finite])) / scale
            floor = float(norm((near - truth)[finite])) / scale
            if not error <= max(BUDGET, ROUNDINGS * floor):
                return f"off by {error:.1e}, PyTorch's float32 is off by {floor:.1e}"
    return ""


class _quiet:
    """No warnings, no progress lines."""

    def __enter__(self) -> None:
        self._undo: list[Callable[..., Any]] = []
        for manager in (warnings.catch_warnings(), redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO())):
            manager.__enter__()
            self._undo.append(manager.__exit__)
        warnings.simplefilter("ignore")
        logging.disable(logging.ERROR)

    def __exit__(self, *error: object) -> None:
        logging.disable(logging.NOTSET)
        for undo in reversed(self._undo):
            undo(*error)
