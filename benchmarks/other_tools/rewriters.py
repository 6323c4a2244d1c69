"""Files that optimisers, converters and quantisers make of PyTorch's."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from other_tools.foreign_file import SIZE, Foreign
from other_tools.torch_networks import script


def rewritten() -> Iterator[Foreign]:
    """Yield what optimisers, converters and quantisers make of two networks."""
    mobile = functools.partial(script, "mobilenet_v3_small", 17)
    small = functools.partial(script, "resnet18", 13)
    yield Foreign("mobilenet_v3_small", f"onnxslim {version('onnxslim')}", functools.partial(slim, mobile))
    yield Foreign("resnet18", f"onnxsim {version('onnxsim')}", functools.partial(simplified, small))
    yield Foreign("resnet18", "onnx.version_converter, opset 22", functools.partial(raised, small))
    yield Foreign("resnet18", "torch.onnx, weights as inputs, opset 9", functools.partial(weights_as_inputs, 9))
    ort = f"ONNX Runtime {version('onnxruntime-gpu')}"
    for how in ("QDQ", "QOperator"):
        yield Foreign("resnet18", f"{ort}, static {how}", functools.partial(quantised, small, how))
    yield Foreign("resnet18", f"{ort}, dynamic int8", functools.partial(quantised, small, "dynamic"))
    yield Foreign("resnet18", f"{ort}, float16", functools.partial(half, small, "onnxruntime"))
    common = f"onnxconverter-common {version('onnxconverter-common')}, float16"
    yield Foreign("resnet18", common, functools.partial(half, small, "onnxconverter_common"))
    for level in ("basic", "extended"):
        yield Foreign("resnet18", f"{ort}, optimised ({level})", functools.partial(optimised, small, level))


def slim(source: Callable[[Path], None], path: Path) -> None:
    """Write what onnxslim makes of a file."""
    import onnxslim

    source(path)
    onnx.save(onnxslim.slim(onnx.load(str(path))), str(path))


def simplified(source: Callable[[Path], None], path: Path) -> None:
    """Write what onnxsim makes of a file."""
    import onnxsim

    source(path)
    onnx.save(onnxsim.simplify(onnx.load(str(path)))[0], str(path))


def raised(source: Callable[[Path], None], path: Path) -> None:
    """Write what ONNX's own converter makes of a file."""
    source(path)
    onnx.save(onnx.version_converter.convert_version(onnx.load(str(path)), 22), str(path))


def weights_as_inputs(opset: int, path: Path) -> None:
    """Write a file of the old kind, which lists its weights among its inputs."""
    script("resnet18", opset, path, keep_initializers_as_inputs=True)


def quantised(source: Callable[[Path], None], how: str, path: Path) -> None:
    """Write what ONNX Runtime's quantiser makes of a file."""
    from onnxruntime import quantization

    before = path.with_name("before.onnx")
    source(before)
    if how == "dynamic":
        quantization.quantize_dynamic(str(before), str(path))
        return

    class Reader(quantization.CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            rng = np.random.default_rng(0)
            shape = (2, 3, SIZE, SIZE)
            self._feeds = iter([{"image": rng.normal(size=shape).astype(np.float32)} for _ in range(4)])

        def get_next(self) -> Any:
            return next(self._feeds, None)

    kind = quantization.QuantFormat[how]
    quantization.quantize_static(str(before), str(path), Reader(), quant_format=kind, per_channel=True)


def half(source: Callable[[Path], None], package: str, path: Path) -> None:
    """Write what a converter to float16 makes of a file: with float32 inputs and outputs, or in float16 throughout."""
    source(path)
    model = onnx.load(str(path))
    if package == "onnxruntime":
        from onnxruntime.transformers.float16 import convert_float_to_float16

        found = convert_float_to_float16(model, keep_io_types=True)
    else:
        from onnxconverter_common.float16 import convert_float_to_float16 as convert

        found = convert(model)
    onnx.save(found, str(path))


def optimised(source: Callable[[Path], None], level: str, path: Path) -> None:
    """Write the graph as ONNX Runtime optimised it; beyond the basic level it has operators of its own."""
    import onnxruntime

    before = path.with_name("before.onnx")
    source(before)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, f"ORT_ENABLE_{level.upper()}")
    options.optimized_model_filepath = str(path)
    onnxruntime.InferenceSession(str(before), options, providers=["CPUExecutionProvider"])
