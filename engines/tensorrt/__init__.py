"""TensorRT: plans built from a bundle's graph, and run. Nothing here imports the library before the driver answered."""
