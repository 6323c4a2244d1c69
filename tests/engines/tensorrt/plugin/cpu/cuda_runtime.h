// What the kernels of the channel gate use of CUDA, for a CPU. device.cpp has the threads, which are fibers.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>

#define __global__
#define __device__
#define __launch_bounds__(threads)

struct dim3 {
    unsigned x, y, z;
    dim3(unsigned x = 1, unsigned y = 1, unsigned z = 1) : x(x), y(y), z(z) {}
};

enum cudaError_t {
    cudaSuccess = 0,
    cudaErrorInvalidValue = 1,
    cudaErrorLaunchFailure = 719,
    cudaErrorCooperativeLaunchTooLarge = 720,
};

enum cudaDeviceAttr {
    cudaDevAttrMultiProcessorCount,
    cudaDevAttrMaxSharedMemoryPerBlockOptin,
    cudaDevAttrMaxSharedMemoryPerMultiprocessor,
    cudaDevAttrReservedSharedMemoryPerBlock,
    cudaDevAttrCooperativeLaunch,
    cudaDevAttrMaxThreadsPerBlock,
};

enum cudaFuncAttribute { cudaFuncAttributeMaxDynamicSharedMemorySize, cudaFuncAttributePreferredSharedMemoryCarveout };

using cudaStream_t = void*;

cudaError_t cudaGetDevice(int* device);
cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int device);
cudaError_t cudaFuncSetAttribute(void const* function, cudaFuncAttribute attribute, int value);
cudaError_t cudaOccupancyMaxActiveBlocksPerMultiprocessor(int* blocks, void const* function, int threads, size_t shared);
cudaError_t cudaMemsetAsync(void* at, int value, size_t bytes, cudaStream_t stream);
cudaError_t cudaLaunchKernel(void const* function, dim3 grid, dim3 block, void** arguments, size_t shared,
                             cudaStream_t stream);
cudaError_t cudaLaunchCooperativeKernel(void const* function, dim3 grid, dim3 block, void** arguments, size_t shared,
                                        cudaStream_t stream);

namespace cpu {

struct Place {
    dim3 thread, block, threads, blocks;
};

Place const& here();

}  // namespace cpu

#define threadIdx (cpu::here().thread)
#define blockIdx (cpu::here().block)
#define blockDim (cpu::here().threads)
#define gridDim (cpu::here().blocks)

void __syncthreads();
float __shfl_xor_sync(unsigned mask, float value, int distance);
unsigned atomicAdd(unsigned* at, unsigned value);
void __nanosleep(unsigned nanoseconds);
inline void __threadfence() {}

template <typename T>
T __ldcg(T const* at) {
    return *at;
}
