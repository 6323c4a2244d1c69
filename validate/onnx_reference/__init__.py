"""An ONNX graph computed by ONNX's reference evaluator, in float64 and with the rounding of a precision."""
