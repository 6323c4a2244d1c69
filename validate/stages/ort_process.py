"""The process in which ONNX Runtime runs the graph of a stage, with what the stage says of optimiser and kernels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ...core.precision import PRECISIONS
from ...engines.isolated import IsolatedRuntime
from ...engines.ort_runtime import CPU
from ...engines.timing import runtimes
from ...engines.timing.runtimes import PROVIDERS
from .stage import EXPORTED, ORT_CUDA, ORT_PLAIN, ORT_TENSORRT, TUNED_GRAPH, WRITTEN, Stage

# Node by node: the numbers are those of the graph, whatever an optimiser would make of it.
AS_WRITTEN = (WRITTEN, ORT_PLAIN, *TUNED_GRAPH.values())
ON_GPU = {ORT_CUDA: runtimes.ORT_CUDA, ORT_TENSORRT: runtimes.ORT_TENSORRT}


def is_optimised(stage: Stage) -> bool:
    """Tell whether ONNX Runtime's optimiser works on the graph of this stage."""
    return stage.runtime not in (EXPORTED, *AS_WRITTEN) and PRECISIONS[stage.precision].is_optimised


def start(stage: Stage, model: Path | None = None) -> IsolatedRuntime:
    """Start the process that runs the stage; without a ``model`` it waits for the one that ``open`` names."""
    return IsolatedRuntime(model, **options_of(stage))


def options_of(stage: Stage) -> dict[str, Any]:
    """Return how the process of the stage runs a graph, whichever that is.

    The graph as it is written is run by kernels that round as its precision does.
    """
    kernels = PRECISIONS[stage.precision].kernels
    return {
        "optimise": is_optimised(stage),
        "kernels": kernels if stage.runtime in AS_WRITTEN else "own",
        "provider": PROVIDERS[ON_GPU[stage.runtime]] if stage.runtime in ON_GPU else CPU,
        "tf32": kernels == "tf32",
    }
