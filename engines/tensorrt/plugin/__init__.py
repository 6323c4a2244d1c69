"""The channel gate as a plugin of TensorRT: its kernels and interfaces in C++, what compiles them, and the build."""
