"""Exports: a case's bundle, PyTorch's plain export of it, and what its blocks must move."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import block_bytes
import plain_plans

from attn2trt.engines.tensorrt.targets import NONE
from attn2trt.errors import ModuleRefused

from .work import Case

BUNDLES = "bundles"


def bundle_path(folder: Path, case: Case) -> Path:
    """The path of a case's bundle."""
    return folder / BUNDLES / case.name


def export_case(folder: Path, case: Case) -> dict[str, Any]:
    """Deploy a case and export it plainly. Raises what ``deploy`` raises; needs PyTorch."""
    import attn2trt
    from attn2trt.modules import catalog

    shapes = [case.shape] if case.shape else []
    precision = attn2trt.PrecisionRequest(precisions=tuple(dict.fromkeys(("fp32", *case.precisions))), io=case.io)
    bundle = attn2trt.deploy(
        case.spec,
        out=bundle_path(folder, case),
        shapes=shapes,
        dynamic=case.dynamic,
        precision=precision,
        capabilities=NONE,
    )
    target = catalog.resolve(case.spec, shapes=shapes, dynamic=case.dynamic)
    module = target.build()
    why = ""
    if case.plain:
        try:
            plain_plans.export_plain(folder, case.name, target, module, bundle)
        except ModuleRefused as error:
            why = str(error)
    return {
        "passed": bool(bundle.manifest["verdict"]["passed"]),
        "no_plain_export": why,
        "blocks": [] if case.is_block else block_bytes.count(case.spec, module),
    }
