"""Export a module to a clean, contract-checked ONNX graph, and write the bundle that holds it."""
