"""How a module becomes a clean, contract-checked ONNX graph, and the bundle on disk that holds it."""
