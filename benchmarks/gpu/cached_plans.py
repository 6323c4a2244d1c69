"""Plans that a search keeps outside of bundles, each put into a copy of the bundle whose graph it was made of.

Of each bundle these are the plan that was built first, which is that of the graph as it is, and the one that was built
last. A plan that is given to another model's bundle is found out: it does not compute what was recorded there.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import onnx

from attn2trt.core.bundle import Bundle, open_bundle
from attn2trt.core.extend import extend
from attn2trt.engines.tensorrt.plans import Plan
from attn2trt.workflows.plan_cache import ABOUT, MODULES

FIRST, LAST = "as-it-is", "last"


def adopted(folders: Sequence[Path], bundles: Sequence[Bundle], to: Path) -> Iterator[Bundle]:
    """Yield copies of bundles in ``to``, each with one plan of the caches in ``folders``."""
    found: dict[Path, list[Path]] = {}
    built = (file for folder in folders for file in folder.rglob(ABOUT))
    for file in sorted(built, key=lambda file: file.stat().st_mtime):
        bundle = _bundle_of(file.parent, bundles)
        if bundle is not None:
            found.setdefault(bundle.path, []).append(file.parent)
    for path, kept in found.items():
        for name, folder in {FIRST: kept[0], **({LAST: kept[-1]} if len(kept) > 1 else {})}.items():
            yield adopt(open_bundle(path), folder, to / f"{path.name}-{name}")


def _bundle_of(folder: Path, bundles: Sequence[Bundle]) -> Bundle | None:
    """Return the bundle whose graph has the inputs and the modules of the graph in a plan's folder."""
    plan, modules = _read(folder)
    graph = onnx.load(str(next(folder.glob("*.onnx"))), load_external_data=False).graph
    inputs = {one.name: _dims(one) for one in graph.input}
    for bundle in bundles:
        specs = bundle.inputs_of(plan.precision)
        alike = {spec.name: [*spec.shape, spec.dtype] for spec in specs} == inputs
        if alike and set(modules.values()) <= {*bundle.node_modules(plan.precision).values(), ""}:
            return bundle
    return None


def _dims(value: onnx.ValueInfoProto) -> list[Any]:
    kind = value.type.tensor_type
    dtype = onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type).name
    return [*(dim.dim_param or dim.dim_value for dim in kind.shape.dim), dtype]


def adopt(bundle: Bundle, folder: Path, to: Path) -> Bundle:
    """Copy the bundle, by links, and list the plan and its graph in the copy as ``tune`` does."""
    plan, modules = _read(folder)
    shutil.rmtree(to, ignore_errors=True)
    shutil.copytree(bundle.path, to, copy_function=_link)
    (to / plan.file).parent.mkdir(exist_ok=True)
    graph = next(folder.glob("*.onnx"))
    files = {plan.file: "plan", **{file.name: "graph" for file in (graph, Path(f"{graph}.data")) if file.exists()}}
    for name in files:
        (to / name).unlink(missing_ok=True)
        shutil.copy(folder / name, to / name)
    of = bundle.manifest["files"][bundle.graphs[plan.precision]]["sha256"]
    entry = {"flavour": plan.flavour, "precision": plan.precision, "file": graph.name, "graph": of, "modules": modules}
    known = {name for name in files if name in bundle.manifest["files"]}
    without = (
        extend(open_bundle(to), {}, {"plans": [], "tuned_graphs": []}, without=known) if known else open_bundle(to)
    )
    return extend(without, files, {"plans": [plan.to_json()], "tuned_graphs": [entry]})


def _link(source: str, to: str) -> None:
    """Link a file, or copy it if it lies on another disk; a manifest is replaced as a whole, never written to."""
    try:
        os.link(source, to)
    except OSError:
        shutil.copy2(source, to)


def _read(folder: Path) -> tuple[Plan, dict[str, str]]:
    about = json.loads((folder / ABOUT).read_text(encoding="utf-8"))
    return Plan.from_json(about["plan"]), json.loads((folder / MODULES).read_text(encoding="utf-8"))
