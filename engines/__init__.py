"""How a graph is run: PyTorch, ONNX Runtime, TensorRT."""
