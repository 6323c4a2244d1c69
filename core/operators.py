"""Sets of ONNX operators, for whoever writes, reads or judges a graph; they need no library to be loaded."""

from __future__ import annotations


def named(operators: str) -> frozenset[str]:
    """Return the names in a text, which spaces and line ends separate."""
    return frozenset(operators.split())


# They read the sizes of a tensor and none of its numbers, whatever its type is.
SIZES_ALONE = named("Shape Size")
# The reason why a node stays in float32 that reads nothing but such sizes and constants.
FROM_SIZES = "computed from sizes and constants alone"
QUANTISERS = QUANTIZE_LINEAR, DEQUANTIZE_LINEAR = "QuantizeLinear", "DequantizeLinear"
PRODUCTS = named("Conv ConvTranspose Gemm MatMul Einsum")
# What only moves or picks values.
MOVES = named(
    """
    Reshape Transpose Slice Concat Squeeze Unsqueeze Expand Gather GatherElements GatherND Flatten Split Identity Pad
    Tile DepthToSpace SpaceToDepth MaxPool GlobalMaxPool ReduceMax ReduceMin ScatterElements ScatterND TopK Trilu
    ReverseSequence Compress
    """
)
ARITHMETIC = named(
    """
    Add Sub Mul Div Neg Abs Max Min Sum Mean Clip Relu LeakyRelu PRelu Elu Selu Celu Sigmoid Tanh HardSigmoid HardSwish
    Softsign ThresholdedRelu Erf Gelu Mish Where Sign Floor Ceil Round AveragePool Resize
    """
)
