"""Build a plan from an ONNX file. Runs in a process of its own (build_child.py): native code may take it down."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ...core.arguments import checked
from ...core.graph_io import FLOAT32
from ...core.precision import FP32
from ...core.tensor_spec import TensorSpec
from ...errors import CheckFailed, InputError, MissingRequirement
from ..environment import ask_driver
from . import versions
from .device import Device
from .flavours import FLAVOURS, TENSORRT, Flavour
from .inspector import inspected
from .library import Library, load, make_logger, make_runtime, open_plan
from .messages import NodeError, builder_message, clean, driver_message, parser_message
from .profiles import Profile
from .rtx import set_targets

MIB = 1 << 20


@checked
@dataclass(frozen=True)
class BuildOptions:
    """Settings of TensorRT's builder.

    Attributes:
        workspace_mib: The most memory for one layer's kernels; None leaves TensorRT what the device has.
        level: The optimization level, 0 (builds fastest) to 5 (runs fastest); None for TensorRT's own default.
        version_compatible: Later versions of TensorRT load the plan as well.
        hardware_compatible: Every GPU from Ampere on loads the plan.
        without_tactics: The sources of kernels to leave out.
    """

    workspace_mib: int | None = None
    level: int | None = None
    version_compatible: bool = False
    hardware_compatible: bool = False
    without_tactics: tuple[str, ...] = ()

    def require_for(self, flavour: Flavour) -> None:
        """Raise InputError for an option that the flavour has not."""
        if flavour is TENSORRT:
            return
        named = (
            ("--version-compatible", self.version_compatible),
            ("--hardware-compatible", self.hardware_compatible),
            ("--without-tactics", self.without_tactics),
        )
        for option, given in named:
            if given:
                raise InputError(f"received {option}, which {flavour.title} does not have; leave it out")


@dataclass(frozen=True)
class BuildOrder:
    """Everything that one build needs. Paths are absolute.

    Attributes:
        graph: The ONNX file.
        plan: Written.
        log: Written: everything that TensorRT says.
        cache: Written: the kernels that TensorRT timed, and those of ``known_cache``. TensorRT for RTX times none.
        layers: Written if the plan can be loaded here: what TensorRT's inspector says of it, as JSON.
        inputs: The graph's inputs.
        profiles: The ranges that kernels are chosen for.
        modules: The PyTorch module of each node of the graph, for messages.
        options: What the builder is given.
        precision: The precision of the graph.
        weakly_typed: The graph is in float32 and TensorRT chooses what it computes in ``precision``: what a user's own
            `trtexec --fp16` would be, to be timed beside ours.
        io: The type that a weakly typed network takes and gives in place of float32.
        flavour: The name of the TensorRT that builds.
        targets: The compute capabilities to build for; without any, the GPU at hand.
        known_cache: Kernels that were timed before; None if there are none.
        known_sha256: The hash of that file. Another file is not read.
        more_caches: Further files with kernels that were timed before, each with its hash.
    """

    graph: Path
    plan: Path
    log: Path
    cache: Path
    layers: Path
    inputs: tuple[TensorSpec, ...]
    profiles: tuple[Profile, ...]
    modules: Mapping[str, str] = field(default_factory=dict)
    options: BuildOptions = field(default_factory=BuildOptions)
    precision: str = FP32
    weakly_typed: bool = False
    io: str = FLOAT32
    flavour: str = TENSORRT.name
    targets: tuple[str, ...] = ()
    known_cache: Path | None = None
    known_sha256: str = ""
    more_caches: tuple[tuple[Path, str], ...] = ()


def build(order: BuildOrder) -> dict[str, Any]:
    """Write the plan; returns what it was built with and for, and how long it took.

    Raises MissingRequirement if there is no such TensorRT, or no device and no target; CheckFailed if TensorRT refuses
    the graph.
    """
    with ExitStack() as stack:
        device = None if order.targets else stack.enter_context(Device())
        library = load(FLAVOURS[order.flavour], device)
        logger = make_logger(library.trt, order.log)
        plan, seconds = _serialized(library, logger, order)
        order.plan.write_bytes(plan)
        if device is None and ask_driver().capability in order.targets:
            device = stack.enter_context(Device())
        return {
            "flavour": order.flavour,
            "tensorrt": str(library.version),
            "capabilities": [*order.targets] if order.targets or device is None else [device.capability],
            "gpu": "" if device is None else device.name,
            "driver": "" if device is None else device.driver,
            "seconds": round(seconds, 3),
            "device_bytes": 0 if device is None else _inspect(library, logger, order),
        }


def _serialized(library: Library, logger: Any, order: BuildOrder) -> tuple[Any, float]:
    """The plan's bytes, and the seconds that building took."""
    builder = library.trt.Builder(logger)
    config = _config(library, builder, order)
    network, _parser = parsed(library, builder, config, logger, order)
    if not order.targets:
        _set_cache(config, _known_kernels(order), [_listed(path, sha256) for path, sha256 in order.more_caches])
    since = time.perf_counter()
    plan = builder.build_serialized_network(network, config)
    seconds = time.perf_counter() - since
    if plan is None:
        raise CheckFailed(builder_message(logger.last_error, order.modules, str(library)))
    if not order.targets:
        _write_cache(config, order.cache)
    return plan, seconds


def parsed(library: Library, builder: Any, config: Any, logger: Any, order: BuildOrder) -> tuple[Any, Any]:
    """Return the network of the order's graph, its layers in the graph's precisions if TensorRT would choose them.

    The parser comes with it: the network's weights may lie in its memory.

    Raises CheckFailed if TensorRT refuses the graph, MissingRequirement if it reads a node only beside a GPU.
    """
    trt, api = library.trt, library.api
    network = builder.create_network(versions.network_flags(trt, api, weakly_typed=order.weakly_typed))
    parser = trt.OnnxParser(network, logger)
    if not parser.parse_from_file(str(order.graph)):
        errors = [_node_error(parser.get_error(index), api) for index in range(parser.num_errors)]
        if len(errors) == 1 and not errors[0].name:  # what an importer refuses has no node: parsing ended at it
            name, operator = logger.last_node
            errors = [replace(errors[0], name=name, operator=operator)]
        if errors and logger.lacks_driver:
            raise MissingRequirement(driver_message(errors[0], order.modules, str(library)))
        raise CheckFailed(parser_message(errors, order.modules, str(library)))
    if order.weakly_typed:
        versions.allow_precision(trt, config, order.precision)
        _set_io(trt, network, order.io)
    else:
        versions.keep_precision(trt, api, config, network, order.precision, order.graph)
    return network, parser


def _set_io(trt: Any, network: Any, io: str) -> None:
    """Have a weakly typed network take and give float16 in place of float32, if ``io`` says so."""
    if io == FLOAT32:
        return
    ends = [network.get_input(index) for index in range(network.num_inputs)]
    ends += [network.get_output(index) for index in range(network.num_outputs)]
    for tensor in ends:
        if tensor.dtype == trt.float32:
            tensor.dtype = trt.float16


def _inspect(library: Library, logger: Any, order: BuildOrder) -> int:
    """Load the plan that was built and write what the inspector says of it; returns the bytes that it needs."""
    engine = open_plan(make_runtime(library.trt, logger, order.options.version_compatible), order.plan.read_bytes())
    if engine is None:
        raise CheckFailed(f"{library} does not load the plan that it built: {clean(logger.last_error)}")
    shapes = {spec.name: order.profiles[0].shapes(spec)[1] for spec in order.inputs}
    order.layers.write_text(inspected(library.trt, engine, engine.create_execution_context(), shapes), encoding="utf-8")
    return versions.device_bytes(engine, library.api)


def _config(library: Library, builder: Any, order: BuildOrder) -> Any:
    trt, options, config = library.trt, order.options, builder.create_builder_config()
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
        config.set_tactic_sources(versions.tactic_mask(trt, library.api, sources, options.without_tactics))
    if order.targets:
        set_targets(trt, config, order.targets)
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


def _known_kernels(order: BuildOrder) -> bytes:
    """Return the kernels that were timed before: the bytes that are hashed are the ones that TensorRT gets.

    Raises CheckFailed if the file is not the one of the order's hash.
    """
    return b"" if order.known_cache is None else _listed(order.known_cache, order.known_sha256)


def _listed(path: Path, sha256: str) -> bytes:
    content = path.read_bytes() if path.is_file() else b""
    if hashlib.sha256(content).hexdigest() != sha256:
        raise CheckFailed(f"{path} is not the file that the manifest lists; restore it, or deploy the target again")
    return content


def _set_cache(config: Any, serialized: bytes, more: Sequence[bytes] = ()) -> None:
    """Give the builder kernels that were timed before; TensorRT leaves those of another version or GPU aside."""
    known = config.create_timing_cache(serialized)
    for other in more:
        known.combine(config.create_timing_cache(other), False)
    if not config.set_timing_cache(known, False) and serialized:
        config.set_timing_cache(config.create_timing_cache(b""), False)


def _write_cache(config: Any, path: Path) -> None:
    cache = config.get_timing_cache()
    if cache is None:
        return
    with suppress(OSError):  # a plan without its cache is a plan
        path.write_bytes(cache.serialize())
