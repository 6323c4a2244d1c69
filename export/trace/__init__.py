"""The trace of a PyTorch module to an ONNX graph."""
