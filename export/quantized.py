"""8-bit products written into the float32 graph, by calibrated ranges: ``model.int8.onnx``, ``model.fp8.onnx``.

passes/quantize_policy.py decides, and passes/quantize.py writes; quantized_check.py then proves that the file is the
float32 graph but for the quantised products. Inputs and outputs stay float32, and so does all that
is not a convolution or a matrix product.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..core.graph import OnnxGraph
from ..core.precision import Precision
from ..errors import ModuleRefused
from .keep_fp32 import kept_in, why_kept
from .precision import LowPrecisionGraph, float32_source, saved
from .precision_options import DEFAULTS, PrecisionOptions
from .quantized_check import check_quantized

if TYPE_CHECKING:
    import onnx_ir as ir

    from .passes.quantize_policy import QuantizePlan

# Of numbers up to one: what folding a normalisation rounds, and far less than two kernels differ by.
ALIKE = 1e-5
# The same numbers in PyTorch and in the graph, by their largest magnitude: as far apart as two kernels leave them, and
# nearer than a factor that would change what the levels lose.
AS_LARGE = 0.01
# Ranges of the named tensors: the largest magnitude that the format tells from larger ones.
Calibrate = Callable[[Sequence[str]], Mapping[str, float]]
# A product of PyTorch: the parameter that its weight is, "" if none; its module; and the largest magnitude of what it
# reads, NaN if that is not what the graph's product reads.
Run = tuple[str, str, float]


@dataclass(frozen=True)
class QuantizedGraph(LowPrecisionGraph):
    """A graph with 8-bit products.

    Attributes:
        ranges: The largest magnitudes of the tensors that the products read.
        scales: The scales of what the products of each weight read, in the order in which PyTorch runs them, if that is
            known, else of the graph; None for one that stays in float32. The key is the name of the parameter that the
            weight is, else the path of the module that runs the products.
        ran_by: The modules of the same products.
        calibration: The inputs that the ranges were found on, and the method.
    """

    ranges: Mapping[str, float] = field(default_factory=dict)
    scales: Mapping[str, tuple[float | None, ...]] = field(default_factory=dict)
    ran_by: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    calibration: str = ""

    @property
    def notes(self) -> list[str]:
        """Return what a user should know, the calibration first."""
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
    calibration: str,
    form: Precision,
    run: Sequence[Run] | None = None,
    largest: Mapping[str, float] | None = None,
    options: PrecisionOptions = DEFAULTS,
) -> QuantizedGraph:
    """Write a float32 graph with 8-bit products to ``folder``.

    Args:
        graph: The float32 graph.
        calibrate: Gives the range of each tensor that it is asked for.
        folder: The bundle's.
        parameters: The module's, by name.
        calibration: The way in which the ranges are found, in words.
        form: The 8-bit format.
        run: PyTorch's products on an input; None if these are not known.
        largest: The largest magnitude of what each product reads (``products_read``) on the same input.
        options: What else is asked for. Inputs and outputs stay as they are.

    Raises:
        InputError: A glob matches nothing.
        ModuleRefused: There is nothing to quantise, or the graph cannot be raised to the opset of the format.
        CheckFailed: The result is not the float32 graph but for its 8-bit operands.
    """
    import onnx_ir as ir

    from .passes.quantize import scale
    from .passes.quantize_policy import plan_quantized

    within = kept_in(graph, options.keep)
    model = ir.from_proto(float32_source(graph, max(graph.opset, form.opset)))
    planned = plan_quantized(model, options.overrides.why_not_in_8_bits(why_kept(graph, within)), precision=form.name)
    by_weight = _by_weight(planned, model, graph, parameters)
    pairs = {where: [(node, graph.modules.get(node, "")) for node in nodes] for where, nodes in by_weight.items()}
    if run is not None and largest is not None:
        known = {name: parameters[name] for name in by_weight if name in parameters}
        alike = functools.cache(lambda name: parameter_of("", parameters.get(name), 0, known))
        met = [(name if name in by_weight else alike(name), module, size) for name, module, size in run]
        pairs = _pairs(planned, by_weight, met, largest)
        planned = _without(planned, _of_other_operators(planned, pairs, form), form)
    ranges = dict(calibrate(list(dict.fromkeys(product.tensor for product in planned.quantized))))
    planned = _without(planned, _useless(planned, ranges, form), form)
    written, files = _written(graph, model, planned, ranges, form, options.path(folder, form.name))
    read = {product.node: product.tensor for product in planned.quantized}
    of_tensor = {name: float(scale(ranges[name], form)) for name in read.values()}
    return QuantizedGraph(
        form.name,
        written,
        tuple(product.node for product in planned.quantized),
        planned.float32,
        planned.kept,
        patterns=tuple(options.keep),
        kept_within=within,
        raised_from=graph.opset if written.opset != graph.opset else None,
        files=files,
        ranges={name: ranges[name] for name in of_tensor},
        scales={where: tuple(of_tensor.get(read.get(node, "")) for node, _ in found) for where, found in pairs.items()},
        ran_by={where: tuple(module for _, module in found) for where, found in pairs.items()},
        calibration=calibration,
    )


def products_read(graph: OnnxGraph, form: Precision) -> list[str]:
    """Return the names of the tensors that the products read which can be quantised."""
    import onnx_ir as ir

    from .passes.quantize_policy import plan_quantized

    planned = plan_quantized(ir.load(str(graph.path)), precision=form.name)
    return list(dict.fromkeys(product.tensor for product in planned.quantized))


def _pairs(
    planned: QuantizePlan, by_weight: Mapping[str, Sequence[str]], run: Sequence[Run], sizes: Mapping[str, float]
) -> dict[str, list[tuple[str, str]]]:
    """Return PyTorch's products of each weight or module in their order: the graph's product, "" if none; the module.

    The graph's is the next one that reads numbers as large. It may have one product for several that read the same.
    """
    read = {product.node: sizes.get(product.tensor, math.nan) for product in planned.quantized}
    left = {where: list(nodes) for where, nodes in by_weight.items()}
    found: dict[str, list[tuple[str, str]]] = {where: [] for where in by_weight}
    for name, module, size in run:
        where = name if name in by_weight else module
        if where not in by_weight:
            continue
        alike = [
            node
            for node in by_weight[where]
            if node in read and not abs(read[node] - size) > AS_LARGE * max(read[node], size)
        ]
        next_one = next((node for node in left[where] if node in alike or node not in read), "")
        if next_one:
            left[where].remove(next_one)
        found[where].append((next_one or next(iter(alike), ""), module))
    return found


def _of_other_operators(
    planned: QuantizePlan, pairs: Mapping[str, Sequence[tuple[str, str]]], form: Precision
) -> dict[str, str]:
    """Return the quantised products that PyTorch does not run, with the reason, as those of a pooling's bins.

    PyTorch cannot measure what the format loses there.
    """
    met = {node for found in pairs.values() for node, _ in found}
    why = f"PyTorch computes it by other operators, so that what {form.name} loses there is not known"
    return {product.node: why for product in planned.quantized if product.node not in met}


def _useless(planned: QuantizePlan, ranges: Mapping[str, float], form: Precision) -> dict[str, str]:
    """Return the products of a tensor that is zero on every input, or not finite on one, with the reason.

    Such a tensor has no scale, and a product of it nothing to gain; float32 may have none for the smallest numbers
    either.
    """
    from .passes.quantize import scale

    useless = {name for name, largest in ranges.items() if not (scale(largest, form) > 0 and math.isfinite(largest))}
    return {
        product.node: f"what it reads was {ranges[product.tensor]:g} on every input"
        for product in planned.quantized
        if product.tensor in useless
    }


def _without(planned: QuantizePlan, dropped: Mapping[str, str], form: Precision) -> QuantizePlan:
    """Return the plan without some products, each with its reason. Raises ModuleRefused if no product is left."""
    products = tuple(product for product in planned.quantized if product.node not in dropped)
    if not products:
        raise nothing_to_quantize(form, planned)
    return replace(
        planned, quantized=products, float32={**planned.float32, **dropped}, kept={**planned.kept, **dropped}
    )


def nothing_to_quantize(form: Precision, planned: QuantizePlan) -> ModuleRefused:
    """Return the error for a graph without a product to quantise."""
    return ModuleRefused(
        f"{form.name} leaves nothing to quantise: none of {len(planned.products)} convolutions and matrix "
        "products has a constant weight and runs more than once per image; leave it out of --precision, or keep "
        "less with --keep-fp32"
    )


def _written(
    graph: OnnxGraph, model: ir.Model, planned: QuantizePlan, ranges: Mapping[str, float], form: Precision, path: Path
) -> tuple[OnnxGraph, tuple[str, ...]]:
    """Quantise the ``model`` of the graph in place; return the graph that was saved and proved right, and its files."""
    from .passes.quantize import Quantize

    rewrite = Quantize(planned, ranges, graph.modules, form)
    rewrite(model)
    opset = max(graph.opset, form.opset)
    written, files = saved(graph, model, path, opset=opset, modules=rewrite.modules, io=graph.io, after="quantisation")
    check_quantized(float32_source(graph, opset), path, planned.quantized, ranges, form)
    return written, files


def _by_weight(
    planned: QuantizePlan, model: ir.Model, graph: OnnxGraph, parameters: Mapping[str, np.ndarray]
) -> dict[str, list[str]]:
    """Return the products of each weight, by its parameter or else by the module that runs them, in the order of the
    graph."""
    constants = {
        str(name): value.const_value.numpy()
        for name, value in model.graph.initializers.items()
        if value.const_value is not None
    }
    found: dict[str, list[str]] = {}
    for node, (weight, axis) in planned.products.items():
        parameter = parameter_of(weight, constants.get(weight), axis, parameters)
        found.setdefault(parameter or graph.modules.get(node, ""), []).append(node)
    return found


def parameter_of(name: str, weight: np.ndarray | None, axis: int, parameters: Mapping[str, np.ndarray]) -> str:
    """Return the parameter that a weight of the graph is, by its ``name`` or by its numbers; "" if it is none.

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
