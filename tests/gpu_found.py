"""What the tools of a GPU run find on a machine with a GPU and TensorRT, and without a GPU."""

from __future__ import annotations

GPU = {
    "devices": ["NVIDIA H200 (compute capability 9.0)"],
    "driver": "CUDA 13.0",
    "problem": "",
    "flavour": "tensorrt",
    "title": "TensorRT",
    "tensorrt": "8.6.0",
    "status": "usable",
    "versions": {"torch": "2.11"},
}
NO_GPU = {**GPU, "devices": [], "driver": "", "problem": "no NVIDIA driver (libcuda.so.1 is not there)"}
