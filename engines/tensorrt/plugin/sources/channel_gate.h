// A channel gate, y = activate(x * gate(mean of x) + residual), and how it is launched. Host code of any compiler.
//
// x, residual and y are (n, c, h, w) without gaps, float or half. Weights, biases, sums and the gate are float:
// gate(m) = last(w2 relu(w1 m + b1) + b2), with w1 (hidden, c), b1 (hidden), w2 (c, hidden), b2 (c).
#pragma once

#include <cuda_runtime.h>

#include <cstddef>

namespace attn2trt {

enum class Type : int { kFloat = 0, kHalf = 1 };

// The last function of the gate. kHardSigmoid is clip(x / 6 + 1 / 2, 0, 1).
enum class Last : int { kSigmoid = 0, kHardSigmoid = 1 };

// Sizes, with pixels = h * w.
struct Sizes {
    int n, c, pixels, hidden;
};

// Everything that a kernel reads. The first half is the caller's, the second is set by launch_gate.
struct Gate {
    void const* x;
    void const* residual;  // null for none
    void* y;
    float const* w1;
    float const* b1;
    float const* w2;
    float const* b2;
    Last last;
    int relu;  // 1: y is cut off at zero

    Sizes sizes;
    float* sums;        // (n, parts, hidden): each block's share of w1 m; with two kernels (n, c): the means
    unsigned* arrived;  // (n): blocks of the image that have written their share
    int parts;          // blocks that share an image
    int channels;       // channels of a block, of the last one maybe fewer
    int groups;         // images that are computed at once
};

// A way to compute the gate on a device: by one cooperative kernel that reads x once, or by two that read it twice.
struct Plan {
    Sizes sizes;
    Type type;
    int device;
    bool one_kernel;
    int parts, channels, groups, threads;
    int squeezing;  // blocks of the first of two kernels
    size_t shared;  // bytes of shared memory of a block
};

// Most blocks that share an image.
constexpr int kMostParts = 128;

// Bytes of device memory that launch_gate needs beside its tensors; enough for every device and every smaller n.
size_t workspace_bytes(Sizes const& sizes);

// Choose the way for these sizes on the current device.
cudaError_t plan_gate(Sizes const& sizes, Type type, Plan* plan);

// Compute the gate on the stream. The workspace is aligned to 256 bytes.
cudaError_t launch_gate(Plan const& plan, Gate gate, void* workspace, cudaStream_t stream);

}  // namespace attn2trt

// The same for a program that loads the library by itself, without TensorRT.
extern "C" {
size_t attn2trt_channel_gate_workspace(int n, int c, int pixels, int hidden);

// Returns CUDA's error. `type`, `last`: the numbers of Type and Last. If `chosen` is not null it gets one_kernel, parts,
// channels, groups, threads and shared of the plan.
int attn2trt_channel_gate(void const* x, void const* w1, void const* b1, void const* w2, void const* b2,
                          void const* residual, void* y, int n, int c, int pixels, int hidden, int type, int last,
                          int relu, void* workspace, void* stream, int* chosen);
}
