"""The API of TensorRT for RTX alone: plans for several compute capabilities, and kernels compiled when they run.

Source: NVIDIA's documentation of TensorRT for RTX 1.7, IBuilderConfig, IRuntimeConfig and IRuntimeCache.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...errors import CheckFailed, MissingRequirement


def set_targets(trt: Any, config: Any, targets: Sequence[str]) -> None:
    """Have the builder build for each of the compute capabilities, ``("8.6", "12.0")``."""
    kinds = trt.ComputeCapability
    config.num_compute_capabilities = len(targets)
    for index, target in enumerate(targets):
        kind = getattr(kinds, f"SM{target.replace('.', '')}", None)
        if kind is None:
            raise MissingRequirement(
                f"TensorRT for RTX {trt.__version__} does not build for compute capability {target}; "
                "leave it out in --for, or pip install --upgrade tensorrt-rtx"
            )
        if not config.set_compute_capability(kind, index):
            raise CheckFailed(f"TensorRT for RTX {trt.__version__} refuses compute capability {target}")


class RuntimeConfig:
    """The settings with which an engine of TensorRT for RTX runs: its compiled kernels, and a CUDA graph if asked for.

    Every kernel is specialised before a shape runs for the first time: the default runs a general kernel first and
    changes it in the background, so that two runs of the same inputs could differ. ``cache`` is what ``serialize``
    returned in an earlier process; TensorRT leaves one of another GPU, driver or version aside.
    """

    def __init__(self, trt: Any, engine: Any, *, cache: bytes, graphed: bool) -> None:
        self._config = engine.create_runtime_config()
        self._cache = self._config.create_runtime_cache()
        if cache:
            self._cache.deserialize(cache)
        self._config.set_runtime_cache(self._cache)
        self._config.dynamic_shapes_kernel_specialization_strategy = trt.DynamicShapesKernelSpecializationStrategy.EAGER
        if graphed:
            self._config.cuda_graph_strategy = trt.CudaGraphStrategy.WHOLE_GRAPH_CAPTURE

    def create_context(self, engine: Any) -> Any:
        """An execution context of the engine; None if TensorRT does not make one."""
        return engine.create_execution_context(runtime_config=self._config)

    def serialize(self) -> bytes:
        """The kernels that were compiled so far."""
        return bytes(self._cache.serialize())
