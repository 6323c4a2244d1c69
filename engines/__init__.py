"""Runtimes that run a graph: PyTorch, ONNX Runtime, TensorRT."""
