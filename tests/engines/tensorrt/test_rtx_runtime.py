"""The calls that run a plan in TensorRT for RTX, with stand-ins: no GPU has met this code.

The stand-ins have the attributes that the installed bindings have, and nothing else.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from attn2trt.core.bundle import Bundle, open_bundle
from attn2trt.core.tensor_spec import Axis
from attn2trt.engines.tensorrt import runtime_child
from attn2trt.engines.tensorrt.flavours import RTX
from attn2trt.engines.tensorrt.isolated import described, keep_kernels
from attn2trt.engines.tensorrt.plans import Plan
from attn2trt.engines.tensorrt.profiles import Profile
from attn2trt.engines.tensorrt.rtx import RuntimeConfig, set_targets
from attn2trt.errors import CheckFailed, MissingRequirement

TRT = SimpleNamespace(
    __version__="1.7.1",
    ComputeCapability=SimpleNamespace(SM86="SM86", SM120="SM120"),
    CudaGraphStrategy=SimpleNamespace(WHOLE_GRAPH_CAPTURE="whole graph"),
    DynamicShapesKernelSpecializationStrategy=SimpleNamespace(EAGER="eager"),
)


class BuilderConfig:
    def __init__(self, *, takes: bool = True) -> None:
        self.num_compute_capabilities = 0
        self.targets: dict[int, str] = {}
        self._takes = takes

    def set_compute_capability(self, target: str, index: int) -> bool:
        assert index < self.num_compute_capabilities
        self.targets[index] = target
        return self._takes


def test_every_target_is_given_to_the_builder() -> None:
    config = BuilderConfig()
    set_targets(TRT, config, ("8.6", "12.0"))
    assert config.targets == {0: "SM86", 1: "SM120"}


def test_a_target_that_this_version_lacks_or_refuses_is_named() -> None:
    with pytest.raises(MissingRequirement, match=r"RTX 1\.7\.1 does not build for compute capability 13\.0"):
        set_targets(TRT, BuilderConfig(), ("13.0",))
    with pytest.raises(CheckFailed, match=r"refuses compute capability 8\.6"):
        set_targets(TRT, BuilderConfig(takes=False), ("8.6",))


class Cache:
    def __init__(self) -> None:
        self.content = b""

    def deserialize(self, content: bytes) -> bool:
        self.content = content
        return True

    def serialize(self) -> bytes:
        return self.content + b"+new"


class Engine:
    """Makes a context only if its configuration is complete."""

    def __init__(self) -> None:
        self.config: Any = None

    def create_runtime_config(self) -> Any:
        cache = Cache()
        self.config = SimpleNamespace(
            create_runtime_cache=lambda: cache, set_runtime_cache=lambda given: setattr(self, "cache", given)
        )
        return self.config

    def create_execution_context(self, *, runtime_config: Any) -> Any:
        assert runtime_config is self.config
        return runtime_config


@pytest.mark.parametrize("graphed", [False, True])
def test_kernels_are_compiled_before_a_shape_runs_and_are_kept(graphed: bool) -> None:
    engine = Engine()
    config = RuntimeConfig(TRT, engine, cache=b"old", graphed=graphed)
    context = config.create_context(engine)
    assert context.dynamic_shapes_kernel_specialization_strategy == "eager"
    assert getattr(context, "cuda_graph_strategy", None) == ("whole graph" if graphed else None)
    assert config.serialize() == b"old+new"


FILE = "plans/sm86-rtx1.7.1-fp32.plan"
PLAN = Plan(FILE, "fp32", "0" * 64, (Profile({"batch": Axis(1, 2, 4)}),), "1.7.1", "", ("8.6",), "", flavour=RTX.name)


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    """A folder with the manifest of a bundle, as far as plans need one."""
    (tmp_path / "plans").mkdir()
    files = {}
    for name in ("model.onnx", "reference.safetensors", FILE):
        (tmp_path / name).write_bytes(b"content")
        files[name] = {"role": "", "sha256": hashlib.sha256(b"content").hexdigest(), "bytes": 7}
    manifest = {"format": 1, "target": {"name": "small"}, "files": files, "axes": {}, "inputs": [], "outputs": []}
    manifest |= {"cases": [], "verdict": {}, "plans": [PLAN.to_json()]}
    (tmp_path / "bundle.json").write_text(json.dumps(manifest))
    return open_bundle(tmp_path)


def listed_kernels(bundle: Bundle) -> bytes:
    """The kernels beside the plan as a child process reads them."""
    return runtime_child._read_listed(json.loads(described(bundle, PLAN, sha256="0" * 64))["kernel_cache"])


def test_kernels_become_part_of_the_bundle_and_are_read_only_as_listed(bundle: Bundle) -> None:
    assert listed_kernels(bundle) == b""
    kept = keep_kernels(bundle, PLAN, b"kernels")
    assert listed_kernels(kept) == b"kernels"
    assert "plans/sm86-rtx1.7.1-fp32.kernels" in kept.manifest["files"]
    assert keep_kernels(kept, PLAN, b"kernels") is kept
    (bundle.path / "plans/sm86-rtx1.7.1-fp32.kernels").write_bytes(b"other")
    assert listed_kernels(kept) == b""
    assert not [path for path in (bundle.path / "plans").iterdir() if "partial" in path.name]


def test_no_kernels_change_nothing(bundle: Bundle) -> None:
    before = (bundle.path / "bundle.json").read_bytes()
    assert keep_kernels(bundle, PLAN, b"") is bundle
    assert (bundle.path / "bundle.json").read_bytes() == before


def test_a_bundle_that_cannot_be_written_is_left_as_it_is(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    before = (bundle.path / "bundle.json").read_bytes()
    monkeypatch.setattr(Path, "write_bytes", refuse)
    assert keep_kernels(bundle, PLAN, b"kernels") is bundle
    assert (bundle.path / "bundle.json").read_bytes() == before
