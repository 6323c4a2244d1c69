// The kernels of the channel gate, see channel_gate.h.
//
// One kernel: `parts` blocks share an image by channels. Each reads its channels into shared memory, adds them up there,
// multiplies the means by its columns of w1, and meets the others at a counter in device memory. Then each adds up all
// shares, computes the gates of its own channels and writes them. So x is read once, and so are the weights.
//
// The launch is cooperative: all blocks run at once, or it is refused. No block waits for one that cannot start.
//
// Two kernels: means first, then gates and products. For images that do not fit into shared memory.
#include <cuda_fp16.h>

#include <cstdint>

#include "channel_gate.h"

namespace attn2trt {

#ifdef __CUDACC__
__device__ inline char* block_memory() {
    extern __shared__ float4 memory[];
    return reinterpret_cast<char*>(memory);
}
#else
char* block_memory();  // of the program that runs the kernels on a CPU
#endif

namespace {

constexpr int kWarp = 32;
constexpr int kPackBytes = 16;
constexpr unsigned kAll = 0xffffffffu;

// What is read and written at once.
template <typename T>
struct alignas(kPackBytes) Pack {
    static constexpr int kCount = kPackBytes / sizeof(T);
    T values[kCount];
};

__device__ inline float to_float(float value) { return value; }
__device__ inline float to_float(__half value) { return __half2float(value); }
__device__ inline void store(float value, float* at) { *at = value; }
__device__ inline void store(float value, __half* at) { *at = __float2half(value); }

__device__ inline float warp_sum(float value) {
    for (int distance = kWarp / 2; distance > 0; distance /= 2) {
        value += __shfl_xor_sync(kAll, value, distance);
    }
    return value;
}

// The sum of a block's values, in every thread; `scratch` has a float for each warp.
__device__ inline float block_sum(float value, float* scratch) {
    value = warp_sum(value);
    if (threadIdx.x % kWarp == 0) {
        scratch[threadIdx.x / kWarp] = value;
    }
    __syncthreads();
    float sum = 0.0f;
    for (unsigned warp = 0; warp < blockDim.x / kWarp; ++warp) {
        sum += scratch[warp];
    }
    __syncthreads();
    return sum;
}

// No fmaxf in these: of a NaN it makes a number.
__device__ inline float cut_off(float value) { return value < 0.0f ? 0.0f : value; }

__device__ inline float last_function(float value, Last last) {
    if (last == Last::kHardSigmoid) {
        float const line = cut_off(value / 6.0f + 0.5f);
        return line > 1.0f ? 1.0f : line;
    }
    return 1.0f / (1.0f + expf(-value));
}

// Elements before the first that lies at a multiple of 16 bytes.
template <typename T>
__device__ inline int head_of(T const* at, int count) {
    int const beyond = static_cast<int>(reinterpret_cast<uintptr_t>(at) % kPackBytes / sizeof(T));
    int const head = beyond == 0 ? 0 : Pack<T>::kCount - beyond;
    return head < count ? head : count;
}

template <typename T>
__device__ inline bool lie_alike(T const* one, T const* other) {
    return reinterpret_cast<uintptr_t>(one) % kPackBytes == reinterpret_cast<uintptr_t>(other) % kPackBytes;
}

// Copy a block's share of the image; both places lie alike, so that nearly all of it moves in packs.
template <typename T>
__device__ void copy_share(T const* from, T* to, int count) {
    int const head = head_of(from, count), packs = (count - head) / Pack<T>::kCount;
    int const tail = head + packs * Pack<T>::kCount, thread = threadIdx.x, threads = blockDim.x;
    for (int i = thread; i < head; i += threads) {
        to[i] = from[i];
    }
    auto const* source = reinterpret_cast<Pack<T> const*>(from + head);
    auto* target = reinterpret_cast<Pack<T>*>(to + head);
#pragma unroll 4
    for (int i = thread; i < packs; i += threads) {
        target[i] = source[i];
    }
    for (int i = tail + thread; i < count; i += threads) {
        to[i] = from[i];
    }
}

// The gate of each element of a pack, whose elements may belong to several channels.
struct Walk {
    float const* gates;
    int pixels, channel, left;  // elements of the channel that are left

    __device__ Walk(float const* gates, int pixels, int element)
        : gates(gates), pixels(pixels), channel(element / pixels), left((element / pixels + 1) * pixels - element) {}

    __device__ float next() {
        if (left == 0) {
            ++channel;
            left = pixels;
        }
        --left;
        return gates[channel];
    }
};

template <typename T>
__device__ inline void scale_one(T const* x, T const* residual, T* y, float gate, int relu) {
    float value = to_float(*x) * gate;
    if (residual != nullptr) {
        value += to_float(*residual);
    }
    store(relu != 0 ? cut_off(value) : value, y);
}

// Write a block's share, `count` elements whose channels have the `gates`. `x` may lie in shared memory.
template <typename T>
__device__ void scale_share(T const* x, T const* residual, T* y, float const* gates, int count, int pixels, int relu) {
    bool const packed = lie_alike<T>(x, y) && (residual == nullptr || lie_alike<T>(residual, y));
    int const head = packed ? head_of(y, count) : count, packs = (count - head) / Pack<T>::kCount;
    int const tail = head + packs * Pack<T>::kCount, thread = threadIdx.x, threads = blockDim.x;
    for (int i = thread; i < head; i += threads) {
        scale_one(x + i, residual == nullptr ? nullptr : residual + i, y + i, gates[i / pixels], relu);
    }
    for (int i = thread; i < packs; i += threads) {
        int const first = head + i * Pack<T>::kCount;
        Pack<T> const given = *reinterpret_cast<Pack<T> const*>(x + first);
        Pack<T> added{}, made{};
        if (residual != nullptr) {
            added = *reinterpret_cast<Pack<T> const*>(residual + first);
        }
        Walk walk(gates, pixels, first);
#pragma unroll
        for (int k = 0; k < Pack<T>::kCount; ++k) {
            T const* more = residual == nullptr ? nullptr : &added.values[k];
            scale_one(&given.values[k], more, &made.values[k], walk.next(), relu);
        }
        *reinterpret_cast<Pack<T>*>(y + first) = made;
    }
    for (int i = tail + thread; i < count; i += threads) {
        scale_one(x + i, residual == nullptr ? nullptr : residual + i, y + i, gates[i / pixels], relu);
    }
}

// The gates of `count` channels from `first` on, a warp for each.
__device__ inline void gates_of(Gate const& gate, float const* hidden, int first, int count, float* gates) {
    int const lane = threadIdx.x % kWarp, warps = blockDim.x / kWarp;
    for (int k = threadIdx.x / kWarp; k < count; k += warps) {
        float const* row = gate.w2 + static_cast<size_t>(first + k) * gate.sizes.hidden;
        float sum = 0.0f;
        for (int j = lane; j < gate.sizes.hidden; j += kWarp) {
            sum += row[j] * hidden[j];
        }
        sum = warp_sum(sum);
        if (lane == 0) {
            gates[k] = last_function(sum + gate.b2[first + k], gate.last);
        }
    }
}

// w1's columns of `count` channels from `first` on times their means, a warp for each hidden unit.
__device__ inline void multiply_means(Gate const& gate, float const* means, int first, int count, float* products) {
    int const lane = threadIdx.x % kWarp, warps = blockDim.x / kWarp;
    for (int j = threadIdx.x / kWarp; j < gate.sizes.hidden; j += warps) {
        float const* row = gate.w1 + static_cast<size_t>(j) * gate.sizes.c + first;
        float sum = 0.0f;
        for (int k = lane; k < count; k += kWarp) {
            sum += row[k] * means[k];
        }
        sum = warp_sum(sum);
        if (lane == 0) {
            products[j] = sum;
        }
    }
}

// Wait until `all` blocks are here. What they wrote before is there after it for reads that pass by the L1 cache.
__device__ inline void meet(unsigned* arrived, unsigned all) {
    __syncthreads();
    if (threadIdx.x == 0) {
        __threadfence();
        atomicAdd(arrived, 1u);
        while (*static_cast<unsigned volatile*>(arrived) < all) {
            __nanosleep(32);
        }
        __threadfence();
    }
    __syncthreads();
}

// Add the shares of all blocks and take the first layer's activation.
__device__ inline void add_products(Gate const& gate, float const* products, float* hidden) {
    for (int j = threadIdx.x; j < gate.sizes.hidden; j += blockDim.x) {
        float sum = gate.b1[j];
        for (int part = 0; part < gate.parts; ++part) {
            sum += __ldcg(products + static_cast<size_t>(part) * gate.sizes.hidden + j);
        }
        hidden[j] = cut_off(sum);
    }
}

// The mean of each of a share's channels, a warp for each.
template <typename T>
__device__ void means_of_share(T const* share, int count, int pixels, float* means) {
    int const lane = threadIdx.x % kWarp, warps = blockDim.x / kWarp;
    for (int k = threadIdx.x / kWarp; k < count; k += warps) {
        float sum = 0.0f;
        for (int i = lane; i < pixels; i += kWarp) {
            sum += to_float(share[static_cast<size_t>(k) * pixels + i]);
        }
        sum = warp_sum(sum);
        if (lane == 0) {
            means[k] = sum / static_cast<float>(pixels);
        }
    }
}

template <typename T>
__device__ void one_kernel(Gate const& gate) {
    Sizes const& sizes = gate.sizes;
    int const part = blockIdx.x % gate.parts, first = part * gate.channels;
    int const count = sizes.c - first < gate.channels ? sizes.c - first : gate.channels;
    // hidden, then means or gates, then the share, with room to lie as it does in device memory
    float* hidden = reinterpret_cast<float*>(block_memory());
    float* own = hidden + sizes.hidden;
    size_t const numbers = (static_cast<size_t>(sizes.hidden) + gate.channels) * sizeof(float);
    char* room = block_memory() + (numbers + kPackBytes - 1) / kPackBytes * kPackBytes;
    for (int image = blockIdx.x / gate.parts; image < sizes.n; image += gate.groups) {
        size_t const start = (static_cast<size_t>(image) * sizes.c + first) * sizes.pixels;
        T const* x = static_cast<T const*>(gate.x) + start;
        T* share = reinterpret_cast<T*>(room + reinterpret_cast<uintptr_t>(x) % kPackBytes);
        float* products = gate.sums + static_cast<size_t>(image) * gate.parts * sizes.hidden;
        __syncthreads();  // the image before has been written
        copy_share(x, share, count * sizes.pixels);
        __syncthreads();
        means_of_share(share, count, sizes.pixels, own);
        __syncthreads();
        multiply_means(gate, own, first, count, products + static_cast<size_t>(part) * sizes.hidden);
        meet(gate.arrived + image, gate.parts);
        add_products(gate, products, hidden);
        __syncthreads();
        gates_of(gate, hidden, first, count, own);
        __syncthreads();
        T const* residual = gate.residual == nullptr ? nullptr : static_cast<T const*>(gate.residual) + start;
        T* y = static_cast<T*>(gate.y) + start;
        scale_share<T>(share, residual, y, own, count * sizes.pixels, sizes.pixels, gate.relu);
    }
}

// The mean of each channel of each image, a block for each.
template <typename T>
__device__ void squeeze(Gate const& gate) {
    Sizes const& sizes = gate.sizes;
    float* scratch = reinterpret_cast<float*>(block_memory());
    int const channels = sizes.n * sizes.c;
    for (int channel = blockIdx.x; channel < channels; channel += gridDim.x) {
        T const* x = static_cast<T const*>(gate.x) + static_cast<size_t>(channel) * sizes.pixels;
        int const head = head_of(x, sizes.pixels), packs = (sizes.pixels - head) / Pack<T>::kCount;
        int const tail = head + packs * Pack<T>::kCount, thread = threadIdx.x, threads = blockDim.x;
        float sum = 0.0f;
        for (int i = thread; i < head; i += threads) {
            sum += to_float(x[i]);
        }
#pragma unroll 4
        for (int i = thread; i < packs; i += threads) {
            Pack<T> const pack = reinterpret_cast<Pack<T> const*>(x + head)[i];
            for (int k = 0; k < Pack<T>::kCount; ++k) {
                sum += to_float(pack.values[k]);
            }
        }
        for (int i = tail + thread; i < sizes.pixels; i += threads) {
            sum += to_float(x[i]);
        }
        sum = block_sum(sum, scratch);
        if (thread == 0) {
            gate.sums[channel] = sum / static_cast<float>(sizes.pixels);
        }
    }
}

// Gates and products of a share of an image, from the means of `squeeze`; each block computes all hidden units.
template <typename T>
__device__ void scale(Gate const& gate) {
    Sizes const& sizes = gate.sizes;
    float* hidden = reinterpret_cast<float*>(block_memory());
    float* gates = hidden + sizes.hidden;
    int const part = blockIdx.x % gate.parts, first = part * gate.channels;
    int const count = sizes.c - first < gate.channels ? sizes.c - first : gate.channels;
    for (int image = blockIdx.x / gate.parts; image < sizes.n; image += gate.groups) {
        multiply_means(gate, gate.sums + static_cast<size_t>(image) * sizes.c, 0, sizes.c, hidden);
        __syncthreads();
        for (int j = threadIdx.x; j < sizes.hidden; j += blockDim.x) {
            hidden[j] = cut_off(hidden[j] + gate.b1[j]);
        }
        __syncthreads();
        gates_of(gate, hidden, first, count, gates);
        __syncthreads();
        size_t const start = (static_cast<size_t>(image) * sizes.c + first) * sizes.pixels;
        T const* residual = gate.residual == nullptr ? nullptr : static_cast<T const*>(gate.residual) + start;
        scale_share<T>(static_cast<T const*>(gate.x) + start, residual, static_cast<T*>(gate.y) + start, gates,
                       count * sizes.pixels, sizes.pixels, gate.relu);
    }
}

}  // namespace
}  // namespace attn2trt

// By name, so that a program that has the compiled kernels alone can launch them through the driver.
extern "C" {
__global__ void __launch_bounds__(512) channel_gate_float(attn2trt::Gate gate) { attn2trt::one_kernel<float>(gate); }
__global__ void __launch_bounds__(512) channel_gate_half(attn2trt::Gate gate) { attn2trt::one_kernel<__half>(gate); }
__global__ void __launch_bounds__(512) channel_squeeze_float(attn2trt::Gate gate) { attn2trt::squeeze<float>(gate); }
__global__ void __launch_bounds__(512) channel_squeeze_half(attn2trt::Gate gate) { attn2trt::squeeze<__half>(gate); }
__global__ void __launch_bounds__(512) channel_scale_float(attn2trt::Gate gate) { attn2trt::scale<float>(gate); }
__global__ void __launch_bounds__(512) channel_scale_half(attn2trt::Gate gate) { attn2trt::scale<__half>(gate); }
}
