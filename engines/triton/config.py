"""Triton's configuration of a model, ``config.pbtxt``, made from a bundle's manifest through Triton's own protobuf."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ...core.bundle import Bundle
from ...core.hidden_folder import shortened
from ...core.precision import FP32, PRECISIONS
from ...core.tensor_spec import TensorSpec
from ...errors import InputError
from ..tensorrt.versions import parse_version
from .batching import Batching
from .library import import_model_config
from .source import PROGRAM, Source, hashes
from .warmup import Request

LONGEST_TITLE = 200  # of a model, a folder's name: with a precision behind it, it is still one
CONFIG = "config.pbtxt"
LABELS = "labels.txt"
# The parameter that says which files of a bundle each version serves; a client reads it from the server.
ABOUT = "attn2trt"
KINDS = {"auto": "KIND_AUTO", "cpu": "KIND_CPU", "gpu": "KIND_GPU"}
PLATFORMS = {"tensorrt": "tensorrt_plan", "onnxruntime": "onnxruntime_onnx"}
# The level at which Triton's backend turns ONNX Runtime's optimiser off (its source, onnxruntime.cc).
NOT_OPTIMISED = 2
# The first TensorRT whose parser keeps INT64; before it a plan's input is INT32.
INT64_TENSORRT = 10


@dataclass(frozen=True)
class Serving:
    """Choices of the user.

    Attributes:
        device: The kind of device that instances are on: ``auto``, ``cpu`` or ``gpu``.
        instances: Instances for each device; Triton's own choice if None.
        queue_delay: The longest that a request waits for others, in microseconds.
        labels: The lines of a file that names an output's classes, by output.
    """

    device: str = "auto"
    instances: int | None = None
    queue_delay: int = 0
    labels: Mapping[str, str] | None = None


def make_config(
    name: str,
    bundle: Bundle,
    sources: Sequence[Source],
    batching: Batching,
    serving: Serving,
    warmup: Sequence[Request],
) -> Any:
    """Return the ``ModelConfig`` of a model whose versions, from 1 on, are ``sources``.

    Raises MissingRequirement without Triton's client library, InputError if the versions need different configurations.
    """
    _require_one_configuration(bundle, sources)
    pb = import_model_config()
    first = sources[0]
    config = pb.ModelConfig(name=name, max_batch_size=batching.largest)
    if first.backend in PLATFORMS:
        config.platform = PLATFORMS[first.backend]
    else:
        config.backend = first.backend
    config.default_model_filename = PROGRAM if first.backend == "python" else first.main
    if len(first.capabilities) > 1:
        config.cc_model_filenames.update(first.capabilities)
    _add_tensors(pb, config, bundle, first, batching, serving.labels or {})
    if batching.axis:
        config.dynamic_batching.preferred_batch_size.extend(batching.preferred)
        config.dynamic_batching.max_queue_delay_microseconds = serving.queue_delay
    _add_instances(pb, config, first, serving)
    if first.backend == "onnxruntime" and not PRECISIONS[first.precision].is_optimised:
        config.optimization.graph.level = NOT_OPTIMISED
    if first.backend == "onnxruntime" and serving.device != "cpu":
        # ONNX Runtime computes float32 products on a GPU in tf32 unless this forbids it
        accelerator = config.optimization.execution_accelerators.gpu_execution_accelerator.add(name="cuda")
        accelerator.parameters["use_tf32"] = "0"
    if len(sources) > 1:
        config.version_policy.all.SetInParent()
    config.parameters[ABOUT].string_value = json.dumps(about(bundle, sources), sort_keys=True)
    _add_warmup(pb, config, first, warmup)
    return config


def model_name(target: str, precision: str = FP32) -> str:
    """Return the name of a target's model: ``resnet50_cbam`` of ``resnet50+cbam``, with the precision below float32.

    It is a folder's, so one that is too long is shortened.
    """
    name = shortened(re.sub(r"[^A-Za-z0-9.-]+", "_", target).strip("_.-"), LONGEST_TITLE) or "model"
    return name if precision == FP32 else f"{name}_{precision}"


def about(bundle: Bundle, sources: Sequence[Source]) -> dict[str, Any]:
    """Return what the configuration says of each version: precision, ranges of the axes, and the hash of each file."""
    versions = {
        str(number): {
            "precision": source.precision,
            "optimised": PRECISIONS[source.precision].is_optimised,
            "main": source.main,
            "files": hashes(bundle, source),
            "profiles": [
                {name: [axis.min, axis.opt, axis.max] for name, axis in profile.axes.items()}
                for profile in source.profiles
            ],
        }
        for number, source in enumerate(sources, 1)
    }
    return {"bundle": bundle.name, "versions": versions}


def to_text(config: Any) -> str:
    """Return the text of ``config.pbtxt``."""
    from google.protobuf import text_format  # type: ignore[import-untyped]

    return str(text_format.MessageToString(config, as_utf8=True))


def _needs(source: Source) -> tuple[Any, ...]:
    """Return what a configuration says of a version's own."""
    return source.backend, source.main, dict(source.capabilities), PRECISIONS[source.precision].is_optimised


def _require_one_configuration(bundle: Bundle, sources: Sequence[Source]) -> None:
    first = sources[0]
    for source in sources[1:]:
        same = _needs(first) == _needs(source)
        profiles = [str(profile) for profile in first.profiles] == [str(profile) for profile in source.profiles]
        if not same or not profiles or bundle.io(first.precision) != bundle.io(source.precision):
            raise InputError(
                f"received --as versions; {first.precision} and {source.precision} need different configurations, "
                "in backend, GPUs, profiles or types, and versions of a model share one; choose --as names"
            )


def _add_tensors(
    pb: Any, config: Any, bundle: Bundle, source: Source, batching: Batching, labels: Mapping[str, str]
) -> None:
    for spec in bundle.inputs_of(source.precision):
        _describe(config.input.add(), pb, spec, source, batching)
    for spec in bundle.outputs_of(source.precision):
        entry = config.output.add()
        _describe(entry, pb, spec, source, batching)
        if spec.name in labels:
            entry.label_filename = label_file(bundle, spec.name)


def label_file(bundle: Bundle, output: str) -> str:
    """Return the name of the file with the classes of an output."""
    position = [spec.name for spec in bundle.outputs].index(output)
    return LABELS if len(bundle.outputs) == 1 else f"output_{position}.{LABELS}"


def _describe(entry: Any, pb: Any, spec: TensorSpec, source: Source, batching: Batching) -> None:
    """Write name, type and shape of a tensor: -1 for an axis that may vary, and no batch where Triton adds it."""
    shape = spec.shape[1:] if batching.axis else spec.shape
    entry.name = spec.name
    entry.data_type = getattr(pb, f"TYPE_{served_type(spec.dtype, source)}")
    if shape:
        entry.dims.extend(size if isinstance(size, int) else -1 for size in shape)
    elif source.backend == "python":  # Triton has no scalars: the program makes one of the one element
        entry.dims.append(1)
    else:
        raise InputError(
            f"{spec} has no dimension, and Triton passes no scalar to {PLATFORMS[source.backend]}; expected --backend "
            "python, which does"
        )


def served_type(dtype: str, source: Source) -> str:
    """Return Triton's name of a type, ``FP32``, as the backend of the source has it."""
    if dtype == "int64" and source.tensorrt and parse_version(source.tensorrt).major < INT64_TENSORRT:
        dtype = "int32"
    return dtype.upper().replace("FLOAT", "FP")


def _add_instances(pb: Any, config: Any, source: Source, serving: Serving) -> None:
    device = "gpu" if source.backend == "tensorrt" else serving.device
    if source.backend == "python" and device == "auto":
        device = "cpu"  # the backend cannot know whether the ONNX Runtime beside it has a GPU provider
    profiles = [str(number) for number in range(len(source.profiles))] if len(source.profiles) > 1 else []
    if device != "auto" or serving.instances is not None or profiles:
        group = config.instance_group.add(kind=getattr(pb.ModelInstanceGroup, KINDS[device]), profile=profiles)
        if serving.instances is not None:
            group.count = serving.instances


def _add_warmup(pb: Any, config: Any, source: Source, warmup: Sequence[Request]) -> None:
    for request in warmup:
        entry = config.model_warmup.add(name=request.name, batch_size=request.batch)
        for position, (name, array) in enumerate(request.arrays.items()):
            value = entry.inputs[name]
            value.data_type = getattr(pb, f"TYPE_{served_type(str(array.dtype), source)}")
            value.dims.extend(array.shape or (1,))
            value.input_data_file = request.file(position)
