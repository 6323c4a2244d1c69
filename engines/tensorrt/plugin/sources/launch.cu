// The choice of a way to compute the channel gate on a device, and its launch.
#include <climits>

#include "channel_gate.cu"

namespace attn2trt {
namespace {

using Kernel = void (*)(Gate);

constexpr int kThreads = 512;
constexpr size_t kPages = 256;
constexpr int kBlocksOfProcessor = 16;  // of kernels whose blocks go on with the next piece

Kernel const kGate[] = {channel_gate_float, channel_gate_half};
Kernel const kSqueeze[] = {channel_squeeze_float, channel_squeeze_half};
Kernel const kScale[] = {channel_scale_float, channel_scale_half};

int ceil_div(int one, int other) { return (one + other - 1) / other; }

size_t round_up(size_t bytes) { return (bytes + kPages - 1) / kPages * kPages; }

size_t element_bytes(Type type) { return type == Type::kHalf ? 2 : 4; }

struct Device {
    int number, processors, shared_of_block, shared_of_processor, reserved, cooperative, threads;
};

cudaError_t ask_device(Device* device) {
    cudaError_t error = cudaGetDevice(&device->number);
    struct {
        int* value;
        cudaDeviceAttr attribute;
    } const wanted[] = {
        {&device->processors, cudaDevAttrMultiProcessorCount},
        {&device->shared_of_block, cudaDevAttrMaxSharedMemoryPerBlockOptin},
        {&device->shared_of_processor, cudaDevAttrMaxSharedMemoryPerMultiprocessor},
        {&device->reserved, cudaDevAttrReservedSharedMemoryPerBlock},
        {&device->cooperative, cudaDevAttrCooperativeLaunch},
        {&device->threads, cudaDevAttrMaxThreadsPerBlock},
    };
    for (auto const& one : wanted) {
        if (error == cudaSuccess) {
            error = cudaDeviceGetAttribute(one.value, one.attribute, device->number);
        }
    }
    return error;
}

// Allow all of the shared memory, whatever a plan takes: the setting is the kernel's, and plans of other sizes share it.
cudaError_t allow_memory(Device const& device, void const* kernel) {
    cudaError_t const error =
        cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, device.shared_of_block);
    return error != cudaSuccess ? error
                                : cudaFuncSetAttribute(kernel, cudaFuncAttributePreferredSharedMemoryCarveout, 100);
}

// Shared memory of a block of `channels`; a pack more than the share, which lies as it does in device memory.
size_t shared_bytes(Sizes const& sizes, Type type, size_t channels) {
    return (sizes.hidden + channels) * sizeof(float) + channels * sizes.pixels * element_bytes(type) + 2 * kPackBytes;
}

// The most channels whose block fits into the bytes; 0 for none.
int most_channels(Sizes const& sizes, Type type, size_t bytes) {
    size_t const empty = shared_bytes(sizes, type, 0), each = shared_bytes(sizes, type, 1) - empty;
    if (bytes < empty + each) {
        return 0;
    }
    size_t const found = (bytes - empty) / each;
    return found < static_cast<size_t>(sizes.c) ? static_cast<int>(found) : sizes.c;
}

void share_out(Plan* plan, int parts) {
    plan->channels = ceil_div(plan->sizes.c, parts);
    plan->parts = ceil_div(plan->sizes.c, plan->channels);
}

// Try the one kernel with so much shared memory for a block. Sets plan->one_kernel.
cudaError_t try_one_kernel(Device const& device, size_t bytes, Plan* plan) {
    int const most = most_channels(plan->sizes, plan->type, bytes);
    plan->one_kernel = false;
    if (most == 0 || ceil_div(plan->sizes.c, most) > kMostParts) {
        return cudaSuccess;
    }
    // as many blocks as keep every processor busy
    int const wanted = ceil_div(device.processors, plan->sizes.n), least = ceil_div(plan->sizes.c, most);
    int const parts = wanted > least ? wanted : least;
    share_out(plan, parts < kMostParts ? (parts < plan->sizes.c ? parts : plan->sizes.c) : kMostParts);
    plan->shared = shared_bytes(plan->sizes, plan->type, plan->channels);
    auto const* kernel = reinterpret_cast<void const*>(kGate[static_cast<int>(plan->type)]);
    cudaError_t error = allow_memory(device, kernel);
    int together = 0;
    if (error == cudaSuccess) {
        error = cudaOccupancyMaxActiveBlocksPerMultiprocessor(&together, kernel, plan->threads, plan->shared);
    }
    int const resident = together * device.processors;
    if (error == cudaSuccess && resident >= plan->parts) {
        int const groups = resident / plan->parts;
        plan->groups = groups < plan->sizes.n ? groups : plan->sizes.n;
        plan->one_kernel = true;
    }
    return error;
}

void plan_two_kernels(Device const& device, Plan* plan) {
    // four blocks for a processor, but shares large beside the weights that each block reads
    int const parts = ceil_div(4 * device.processors, plan->sizes.n);
    share_out(plan, parts < kMostParts ? (parts < plan->sizes.c ? parts : plan->sizes.c) : kMostParts);
    int const most = kBlocksOfProcessor * device.processors, channels = plan->sizes.n * plan->sizes.c;
    int const groups = most > plan->parts ? most / plan->parts : 1;
    plan->groups = groups < plan->sizes.n ? groups : plan->sizes.n;
    plan->squeezing = channels < most ? channels : most;
    plan->shared = (static_cast<size_t>(plan->sizes.hidden) + plan->channels) * sizeof(float);
}

cudaError_t launch(Kernel kernel, bool together, int blocks, Plan const& plan, size_t shared, Gate gate,
                   cudaStream_t stream) {
    void* arguments[] = {&gate};
    auto const* function = reinterpret_cast<void const*>(kernel);
    dim3 const grid(static_cast<unsigned>(blocks)), block(static_cast<unsigned>(plan.threads));
    return together ? cudaLaunchCooperativeKernel(function, grid, block, arguments, shared, stream)
                    : cudaLaunchKernel(function, grid, block, arguments, shared, stream);
}

}  // namespace

size_t workspace_bytes(Sizes const& sizes) {
    size_t const n = sizes.n, parts = sizes.c < kMostParts ? sizes.c : kMostParts;
    size_t const products = n * parts * sizes.hidden, means = n * sizes.c;
    return round_up(n * sizeof(unsigned)) + round_up((products > means ? products : means) * sizeof(float));
}

cudaError_t plan_gate(Sizes const& sizes, Type type, Plan* plan) {
    if (sizes.n < 0 || sizes.c < 1 || sizes.pixels < 1 || sizes.hidden < 1 ||
        static_cast<long long>(sizes.n) * sizes.c > INT_MAX || static_cast<long long>(sizes.c) * sizes.pixels > INT_MAX) {
        return cudaErrorInvalidValue;
    }
    *plan = Plan{};
    plan->sizes = sizes;
    plan->type = type;
    Device device{};
    cudaError_t error = ask_device(&device);
    if (error != cudaSuccess || sizes.n == 0) {
        return error;
    }
    plan->device = device.number;
    plan->threads = device.threads < kThreads ? device.threads : kThreads;
    if (device.cooperative != 0) {
        // two blocks on a processor, so that one reads while another waits or writes; else one
        int const half = device.shared_of_processor / 2 - device.reserved;
        for (int const bytes : {half < device.shared_of_block ? half : device.shared_of_block, device.shared_of_block}) {
            if (error == cudaSuccess && !plan->one_kernel && bytes > 0) {
                error = try_one_kernel(device, static_cast<size_t>(bytes), plan);
            }
        }
    }
    if (error == cudaSuccess && !plan->one_kernel) {
        plan_two_kernels(device, plan);
        if (plan->shared > static_cast<size_t>(device.shared_of_block)) {
            return cudaErrorInvalidValue;
        }
        error = allow_memory(device, reinterpret_cast<void const*>(kScale[static_cast<int>(type)]));
    }
    return error;
}

cudaError_t launch_gate(Plan const& plan, Gate gate, void* workspace, cudaStream_t stream) {
    Sizes const& sizes = plan.sizes;
    if (sizes.n == 0) {
        return cudaSuccess;
    }
    int const type = static_cast<int>(plan.type), blocks = plan.groups * plan.parts;
    gate.sizes = sizes;
    gate.parts = plan.parts;
    gate.channels = plan.channels;
    gate.groups = plan.groups;
    gate.arrived = static_cast<unsigned*>(workspace);
    size_t const counters = sizes.n * sizeof(unsigned);
    gate.sums = reinterpret_cast<float*>(static_cast<char*>(workspace) + round_up(counters));
    if (plan.one_kernel) {
        cudaError_t const error = cudaMemsetAsync(workspace, 0, counters, stream);
        return error != cudaSuccess ? error : launch(kGate[type], true, blocks, plan, plan.shared, gate, stream);
    }
    size_t const scratch = plan.threads / kWarp * sizeof(float);
    cudaError_t const error = launch(kSqueeze[type], false, plan.squeezing, plan, scratch, gate, stream);
    return error != cudaSuccess ? error : launch(kScale[type], false, blocks, plan, plan.shared, gate, stream);
}

}  // namespace attn2trt

extern "C" __attribute__((visibility("default"))) size_t attn2trt_channel_gate_workspace(int n, int c, int pixels,
                                                                                         int hidden) {
    return attn2trt::workspace_bytes({n, c, pixels, hidden});
}

extern "C" __attribute__((visibility("default"))) int attn2trt_channel_gate(
    void const* x, void const* w1, void const* b1, void const* w2, void const* b2, void const* residual, void* y, int n,
    int c, int pixels, int hidden, int type, int last, int relu, void* workspace, void* stream, int* chosen) {
    using namespace attn2trt;
    Plan plan{};
    cudaError_t const error = plan_gate({n, c, pixels, hidden}, static_cast<Type>(type), &plan);
    if (error != cudaSuccess) {
        return error;
    }
    if (chosen != nullptr) {
        int const found[] = {plan.one_kernel ? 1 : 0, plan.parts,   plan.channels,
                             plan.groups,             plan.threads, static_cast<int>(plan.shared)};
        for (int i = 0; i < 6; ++i) {
            chosen[i] = found[i];
        }
    }
    Gate gate{};
    gate.x = x;
    gate.residual = residual;
    gate.y = y;
    gate.w1 = static_cast<float const*>(w1);
    gate.b1 = static_cast<float const*>(b1);
    gate.w2 = static_cast<float const*>(w2);
    gate.b2 = static_cast<float const*>(b2);
    gate.last = static_cast<Last>(last);
    gate.relu = relu;
    return launch_gate(plan, gate, workspace, static_cast<cudaStream_t>(stream));
}
