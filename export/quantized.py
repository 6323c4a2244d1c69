"""8-bit products written into the graph: ``model.int8.onnx``, ``model.fp8.onnx``, from the float32 graph and calibrated
ranges.

What is quantised is decided in passes/quantize_policy.py and written by passes/quantize.py; quantized_check.py then
proves that what lies on disk is the float32 graph but for that. Inputs and outputs stay float32, and so does all that
is not a convolution or a matrix product.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from ..core.formats import Format
from ..core.graph import OnnxGraph, save
from ..errors import ModuleRefused
from .contract import check_contract
from .precision import LowPrecisionGraph, file_name, float32_source, keeper, matching
from .quantized_check import check_quantized

# Of numbers up to one: what folding a normalisation rounds, and far less than two kernels differ by.
ALIKE = 1e-5
# Ranges of the named tensors: the largest magnitude that is told apart from larger ones.
Calibrate = Callable[[Sequence[str]], Mapping[str, float]]


@dataclass(frozen=True)
class QuantizedGraph(LowPrecisionGraph):
    """A graph with 8-bit products. ``ranges`` are the largest magnitudes of the tensors that they read.

    ``scales`` are those of what the products of each weight read, in the order of the graph, None for one that stays in
    float32: by the name of the parameter that it is, else by the path of the module that runs them. ``ran_by`` has the
    modules of the same products as the graph names them.
    ``calibration`` says on what the ranges were found, and how.
    """

    ranges: Mapping[str, float] = field(default_factory=dict)
    scales: Mapping[str, tuple[float | None, ...]] = field(default_factory=dict)
    ran_by: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    calibration: str = ""

    @property
    def notes(self) -> list[str]:
        """What a user should know, the calibration first."""
        return [f"ranges from {self.calibration}", *super().notes]

    def to_json(self) -> dict[str, Any]:
        """The manifest's entry."""
        return {**super().to_json(), "ranges": dict(self.ranges), "calibration": self.calibration}


def quantize(
    graph: OnnxGraph,
    calibrate: Calibrate,
    folder: Path,
    *,
    parameters: Mapping[str, np.ndarray],
    said: str,
    form: Format,
    keep: Sequence[str] = (),
) -> QuantizedGraph:
    """Write ``graph``, float32, with 8-bit products of a format to ``folder``.

    ``calibrate`` gives the range of each tensor that it is asked for, and ``said`` tells how; ``parameters`` are the
    module's by name. ``keep`` are globs over PyTorch module paths; what they match stays in float32, with everything
    inside. Raises InputError if one matches nothing, ModuleRefused where there is nothing to quantise, or where the
    graph cannot be raised to the opset that the format needs, CheckFailed if the result is not the float32 graph but
    for its 8-bit operands.
    """
    import onnx_ir as ir

    from .passes.quantize import Quantize, scale_of
    from .passes.quantize_policy import plan_quantized

    within = matching(keep, graph.module_paths)
    opset = max(graph.opset, form.opset)
    model = ir.from_proto(float32_source(graph, opset))
    planned = plan_quantized(model, keeper(graph, within), precision=form.precision)
    ranges = dict(calibrate(list(dict.fromkeys(product.tensor for product in planned.quantized))))
    # a tensor that is zero on every input has no scale, and a product of it nothing to gain
    useless = {name for name, largest in ranges.items() if not (largest > 0 and math.isfinite(largest))}
    dropped = {
        product.node: f"what it reads was {ranges[product.tensor]:g} on every input"
        for product in planned.quantized
        if product.tensor in useless
    }
    products = tuple(product for product in planned.quantized if product.node not in dropped)
    if not products:
        raise ModuleRefused(
            f"{form.precision} leaves nothing to quantise: none of {len(planned.products)} convolutions and matrix "
            "products has a constant weight and runs more than once per image; leave it out of --precision, or keep "
            "less with --keep-fp32"
        )
    planned = replace(
        planned, quantized=products, float32={**planned.float32, **dropped}, kept={**planned.kept, **dropped}
    )
    constants = {
        str(name): value.const_value.numpy()
        for name, value in model.graph.initializers.items()
        if value.const_value is not None
    }
    rewrite = Quantize(planned, ranges, graph.modules, form)
    rewrite(model)
    path = folder / file_name(form.precision)
    files = save(model, path)
    written = replace(graph, path=path, opset=opset, modules=rewrite.modules)
    check_contract(written, opset=opset, inputs=graph.inputs, outputs=graph.outputs, after="quantisation")
    check_quantized(float32_source(graph, opset), path, products, ranges, form)
    tensors = {product.node: product.tensor for product in products}
    scales: dict[str, list[float | None]] = {}
    ran_by: dict[str, list[str]] = {}
    for name, (weight, axis) in planned.products.items():
        found = float(scale_of(ranges[tensors[name]], form)) if name in tensors else None
        module = graph.modules.get(name, "")
        where = parameter_of(weight, constants.get(weight), axis, parameters) or module
        scales.setdefault(where, []).append(found)
        ran_by.setdefault(where, []).append(module)
    return QuantizedGraph(
        form.precision,
        written,
        tuple(product.node for product in products),
        planned.float32,
        planned.kept,
        patterns=tuple(keep),
        kept_within=within,
        raised_from=graph.opset if opset != graph.opset else None,
        files=files,
        ranges={name: ranges[name] for name in dict.fromkeys(tensors.values())},
        scales={where: tuple(found) for where, found in scales.items()},
        ran_by={where: tuple(paths) for where, paths in ran_by.items()},
        calibration=said,
    )


def parameter_of(name: str, weight: np.ndarray | None, axis: int, parameters: Mapping[str, np.ndarray]) -> str:
    """The parameter that a weight of the graph is, by its ``name`` or by its numbers; "" where it is none.

    A simplifier may have given it another name, turned it over, or folded a normalisation into it, which scales whole
    output channels (``axis``): what is compared is each channel over its largest number.
    """
    if name in parameters or weight is None:
        return name if name in parameters else ""
    wanted = _directions(weight, axis)
    for candidate, numbers in parameters.items():
        for along in (0, 1) if numbers.ndim == 2 else (0,):
            if numbers.ndim < 2 or numbers.size != weight.size or numbers.shape[along] != len(wanted):
                continue
            if np.allclose(_directions(numbers, along), wanted, rtol=0, atol=ALIKE):
                return candidate
    return ""


def _directions(weight: np.ndarray, axis: int) -> np.ndarray:
    channels = np.moveaxis(weight, axis, 0).reshape(weight.shape[axis], -1)
    largest = np.take_along_axis(channels, np.abs(channels).argmax(1)[:, None], 1)
    found: np.ndarray = channels / np.where(largest == 0, 1, largest)
    return found
