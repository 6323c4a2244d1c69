"""Build a plan from an ONNX file. Runs in a process of its own (build_child.py): native code may take it down."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ...errors import CheckFailed
from ...modules.target import TensorSpec
from . import versions
from .device import Device
from .library import load, make_logger, make_runtime, open_plan
from .messages import NodeError, advice, clean, parser_message
from .profiles import Profile

MIB = 1 << 20


@dataclass(frozen=True)
class Options:
    """What the builder is told. ``workspace_mib`` None leaves TensorRT what the device has; ``level`` is its
    optimization level, 0 (builds fastest) to 5 (runs fastest), its own default where None."""

    workspace_mib: int | None = None
    level: int | None = None
    version_compatible: bool = False
    hardware_compatible: bool = False
    without_tactics: tuple[str, ...] = ()


@dataclass(frozen=True)
class Order:
    """Everything that one build needs. Paths are absolute; ``cache`` is read where it is there, and written.

    ``precision`` is that of the graph; ``layers`` gets what TensorRT's inspector says of the plan, as JSON. Where the
    order is ``weakly_typed``, the graph is in float32 and TensorRT chooses what it computes in ``precision``: what a
    user's own `trtexec --fp16` would be, to be timed beside ours.
    """

    graph: Path
    plan: Path
    log: Path
    cache: Path
    layers: Path
    inputs: tuple[TensorSpec, ...]
    profiles: tuple[Profile, ...]
    modules: Mapping[str, str] = field(default_factory=dict)
    options: Options = field(default_factory=Options)
    precision: str = "fp32"
    weakly_typed: bool = False


def build(order: Order) -> dict[str, Any]:
    """Write the plan; returns what it was built with and on, and how long it took.

    Raises MissingRequirement where there is no device or no TensorRT, CheckFailed where TensorRT refuses the graph.
    """
    with Device() as device:
        trt, version = load(device)
        logger = make_logger(trt, order.log)
        builder = trt.Builder(logger)
        network = builder.create_network(versions.network_flags(trt, version, weakly_typed=order.weakly_typed))
        parser = trt.OnnxParser(network, logger)
        if not parser.parse_from_file(str(order.graph)):
            errors = [_node_error(parser.get_error(index), version) for index in range(parser.num_errors)]
            raise CheckFailed(parser_message(errors, order.modules, str(version)))
        config = _config(trt, version, builder, order)
        if order.weakly_typed:
            versions.allow_precision(trt, config, order.precision)
        else:
            versions.keep_precision(trt, version, config, network, order.precision, order.graph)
        _read_cache(config, order.cache)
        since = time.perf_counter()
        plan = builder.build_serialized_network(network, config)
        seconds = time.perf_counter() - since
        if plan is None:
            reason = logger.last_error or "it does not say why"
            raise CheckFailed(f"TensorRT {version} cannot build the plan: {clean(reason)}; {advice(reason)}")
        order.plan.write_bytes(plan)
        _write_cache(config, order.cache)
        engine = open_plan(make_runtime(trt, logger, order.options.version_compatible), order.plan)
        if engine is None:
            raise CheckFailed(f"TensorRT {version} does not load the plan that it built: {clean(logger.last_error)}")
        order.layers.write_text(_inspected(trt, engine, order), encoding="utf-8")
        return {
            "tensorrt": str(version),
            "gpu": device.name,
            "capability": device.capability,
            "driver": device.driver,
            "seconds": round(seconds, 3),
            "device_bytes": versions.device_bytes(engine, version),
        }


def _inspected(trt: Any, engine: Any, order: Order) -> str:
    """What the inspector says of the plan at its first profile's optimum: without shapes it leaves the types open."""
    inspector = engine.create_engine_inspector()
    context = engine.create_execution_context()
    if context is not None:
        for spec in order.inputs:
            context.set_input_shape(spec.name, order.profiles[0].shapes(spec)[1])
        inspector.execution_context = context
    return str(inspector.get_engine_information(trt.LayerInformationFormat.JSON))


def _config(trt: Any, version: versions.Version, builder: Any, order: Order) -> Any:
    options, config = order.options, builder.create_builder_config()
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
    if options.workspace_mib is not None:
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, options.workspace_mib * MIB)
    if options.level is not None:
        config.builder_optimization_level = options.level
    if options.version_compatible:
        config.set_flag(trt.BuilderFlag.VERSION_COMPATIBLE)
    if options.hardware_compatible:
        config.hardware_compatibility_level = trt.HardwareCompatibilityLevel.AMPERE_PLUS
    if options.without_tactics:
        sources = int(config.get_tactic_sources())
        config.set_tactic_sources(versions.tactic_mask(trt, version, sources, options.without_tactics))
    for profile in order.profiles:
        _add_profile(builder, config, order.inputs, profile)
    return config


def _add_profile(builder: Any, config: Any, inputs: Sequence[TensorSpec], profile: Profile) -> None:
    dynamic = [spec for spec in inputs if any(isinstance(dim, str) for dim in spec.shape)]
    if not dynamic:
        return
    made = builder.create_optimization_profile()
    for spec in dynamic:
        made.set_shape(spec.name, *profile.shapes(spec))
    if config.add_optimization_profile(made) < 0:
        raise CheckFailed(f"TensorRT refuses the profile {profile}; narrow it with --profile")


def _node_error(error: Any, version: versions.Version) -> NodeError:
    index, name, operator = versions.failed_node(error, version)
    return NodeError(index, name, operator, str(error.desc()))


def _read_cache(config: Any, path: Path) -> None:
    """Kernels that were timed before; TensorRT leaves a cache of another version or GPU aside."""
    serialized = path.read_bytes() if path.is_file() else b""
    if not config.set_timing_cache(config.create_timing_cache(serialized), False) and serialized:
        config.set_timing_cache(config.create_timing_cache(b""), False)


def _write_cache(config: Any, path: Path) -> None:
    cache = config.get_timing_cache()
    if cache is None:
        return
    partial = path.with_name(f".{path.name}.partial")
    with suppress(OSError):  # a plan without its cache is a plan
        partial.write_bytes(cache.serialize())
        partial.replace(path)
