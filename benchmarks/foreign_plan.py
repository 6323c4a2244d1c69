"""An ONNX file and a TensorRT plan of it, written without attn2trt, as somebody else would write them.

python benchmarks/foreign_plan.py model FILE [--seed N]            writes the ONNX file; needs onnx
python benchmarks/foreign_plan.py plan FILE PLAN [--fp16]          builds the plan with TensorRT's own API; needs a GPU
"""

from __future__ import annotations

import argparse
import ctypes
import sys
from pathlib import Path

import numpy as np

CHANNELS, SIZE = 16, 24
SMALLEST, BEST, LARGEST = 1, 2, 8
LEVEL = 1  # seconds in place of a minute
# TensorRT 8.6 calls cuBLAS and cuDNN for these, which need not be installed.
WITHOUT = ("CUBLAS", "CUBLAS_LT", "CUDNN")


def write_model(path: Path, seed: int) -> None:
    """Write a convolution, a gate by the mean and a second convolution, with weights drawn from ``seed``."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    draw = np.random.default_rng(seed)

    def weight(name: str, *shape: int) -> onnx.TensorProto:
        values = draw.standard_normal(shape) / np.sqrt(np.prod(shape[1:]))
        return numpy_helper.from_array(values.astype(np.float32), name)

    weights = [
        weight("w0", CHANNELS, 3, 3, 3),
        weight("w1", CHANNELS, CHANNELS, 1, 1),
        weight("w2", 8, CHANNELS, 3, 3),
    ]
    nodes = [
        helper.make_node("Conv", ["x", "w0"], ["a"], name="stem", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["a"], ["b"], name="relu"),
        helper.make_node("ReduceMean", ["b"], ["m"], name="mean", axes=[2, 3], keepdims=1),
        helper.make_node("Conv", ["m", "w1"], ["g"], name="gate"),
        helper.make_node("Sigmoid", ["g"], ["s"], name="sigmoid"),
        helper.make_node("Mul", ["b", "s"], ["c"], name="scale"),
        helper.make_node("Conv", ["c", "w2"], ["y"], name="head", pads=[1, 1, 1, 1]),
    ]
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 3, SIZE, SIZE])]
    outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 8, SIZE, SIZE])]
    graph = helper.make_graph(nodes, "foreign", inputs, outputs, weights)
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8, producer_name="somebody else"
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(model, str(path))


def build_plan(model: Path, plan: Path, *, half: bool) -> None:
    """Build a plan as a user of TensorRT's API does, without tf32; with ``half`` TensorRT may choose float16."""
    require_device()
    import tensorrt as trt

    logger = trt.Logger(trt.Logger.WARNING)
    builder = trt.Builder(logger)
    batch = getattr(trt.NetworkDefinitionCreationFlag, "EXPLICIT_BATCH", None)
    network = builder.create_network(0 if batch is None else 1 << int(batch))
    parser = trt.OnnxParser(network, logger)
    if not parser.parse(model.read_bytes()):
        sys.exit(str(parser.get_error(0)))
    config = builder.create_builder_config()
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
    config.builder_optimization_level = LEVEL
    config.clear_flag(trt.BuilderFlag.TF32)
    if half:
        config.set_flag(trt.BuilderFlag.FP16)
    sources = [getattr(trt.TacticSource, name) for name in WITHOUT if hasattr(trt.TacticSource, name)]
    config.set_tactic_sources(config.get_tactic_sources() & ~sum(1 << int(source) for source in sources))
    profile = builder.create_optimization_profile()
    profile.set_shape("x", *((batch, 3, SIZE, SIZE) for batch in (SMALLEST, BEST, LARGEST)))
    config.add_optimization_profile(profile)
    built = builder.build_serialized_network(network, config)
    if built is None:
        sys.exit("TensorRT built no plan")
    plan.write_bytes(built)


def require_device() -> None:
    """End this process with exit code 3 if there is no GPU: TensorRT would end it without a word."""
    try:
        found = ctypes.CDLL("libcuda.so.1").cuInit(0)
    except OSError as error:
        found = error
    if found:
        print(f"there is no NVIDIA driver ({found}); run on a machine with a GPU", file=sys.stderr)
        sys.exit(3)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(dest="verb", required=True)
    of_model, of_plan = verbs.add_parser("model"), verbs.add_parser("plan")
    of_model.add_argument("file", type=Path)
    of_model.add_argument("--seed", type=int, default=0)
    of_plan.add_argument("file", type=Path)
    of_plan.add_argument("plan", type=Path)
    of_plan.add_argument("--fp16", action="store_true")
    given = parser.parse_args()
    if given.verb == "model":
        write_model(given.file, given.seed)
    else:
        build_plan(given.file, given.plan, half=given.fp16)
