"""Bundles that several files of tests begin with: each is deployed once in a run, and every file has a copy."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

import attn2trt

SMALL: dict[str, Any] = {"dynamic": "batch=1:2:4", "capabilities": "none"}
PLAIN: dict[str, Any] = {"shapes": ["2x16x8x8"], **SMALL}
HALF: dict[str, Any] = {"shapes": ["2x16x4x4"], "precision": "fp32,fp16", **SMALL}
COLUMNS: dict[str, Any] = {"shapes": ["2x16x8x6"], **SMALL}  # not as high as wide
EVERY_PRECISION: dict[str, Any] = {"shapes": ["2x16x12x12"], "precision": "fp32,tf32,fp16,bf16,int8", **SMALL}


def deployed_once(factory: pytest.TempPathFactory, target: str, options: dict[str, Any]) -> Path:
    """Return a copy of a target's bundle, deployed once by all test processes, whose folders lie in one."""
    own = factory.getbasetemp()
    shared = own.parent if "PYTEST_XDIST_WORKER" in os.environ else own
    key = hashlib.sha256(json.dumps([target, options], sort_keys=True).encode()).hexdigest()[:12]
    made = shared / f"deployed-{target}-{key}"
    with made.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not made.exists():  # a bundle is there as a whole or not at all
            attn2trt.deploy(target, out=made, **options)
    return Path(shutil.copytree(made, factory.mktemp("deployed") / target))
