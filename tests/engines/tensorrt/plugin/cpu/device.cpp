// A device on which the kernels run on a CPU. Its threads are fibers: each runs until it waits for others, and the one
// that goes on then is drawn at random: all alike or, if the seed is odd, by warps, some of which run as far as they can
// while others stand still. So one that misses a barrier runs far ahead of the rest, or far behind.
//
// Memory between barriers is seen by all at once here. What only weaker memory would show, this device does not.
#include <ucontext.h>

#include <algorithm>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "launch.cu"

namespace cpu {
namespace {

constexpr size_t kStack = 1 << 16;
constexpr size_t kGuard = 256;
constexpr unsigned char kUnset = 0xff, kCanary = 0xa5;

struct Group {  // of threads that wait for each other
    int size = 0, waiting = 0, ended = 0;
    unsigned rank = 0;  // of a warp: the highest goes on
    std::vector<struct Fiber*> members;
    float values[32] = {};
};

struct Block {
    Group all;
    std::vector<Group> warps;
    std::unique_ptr<unsigned char[]> memory;
    unsigned char* base = nullptr;
};

struct Fiber {
    ucontext_t context{};
    std::unique_ptr<char[]> stack;
    Place place;
    Block* block = nullptr;
    Group* warp = nullptr;
};

struct Device {
    int processors = 2, shared_of_block = 1 << 14, shared_of_processor = 1 << 15, cooperative = 1, threads = 64;
    bool by_warps = false;
    std::mt19937 random;
    std::string error;
};

Device device;
ucontext_t scheduler;
Fiber* current = nullptr;
std::vector<Fiber*> ready;
void (*kernel)(attn2trt::Gate) = nullptr;
attn2trt::Gate argument;
long idle = 0;  // naps in a row, while nothing else happens

void stop_here() { swapcontext(&current->context, &scheduler); }

void wait_in(Group* group) {
    idle = 0;
    if (++group->waiting < group->size) {
        stop_here();
        return;
    }
    group->waiting = 0;
    for (Fiber* member : group->members) {
        ready.push_back(member);
    }
    stop_here();
}

void run_fiber() {
    kernel(argument);
    ++current->block->all.ended;
    ++current->warp->ended;
    idle = 0;
    stop_here();
}

std::unique_ptr<Block> make_block(unsigned number, dim3 grid, dim3 size, size_t shared,
                                  std::vector<std::unique_ptr<Fiber>>* fibers) {
    auto block = std::make_unique<Block>();
    block->all.size = static_cast<int>(size.x);
    block->warps = std::vector<Group>((size.x + 31) / 32);
    for (Group& warp : block->warps) {
        warp.rank = device.random();
    }
    block->memory.reset(new unsigned char[shared + kGuard + 16]);
    size_t const beyond = reinterpret_cast<uintptr_t>(block->memory.get()) % 16;
    block->base = block->memory.get() + (beyond == 0 ? 0 : 16 - beyond);
    std::memset(block->base, kUnset, shared);
    std::memset(block->base + shared, kCanary, kGuard);
    for (unsigned thread = 0; thread < size.x; ++thread) {
        auto fiber = std::make_unique<Fiber>();
        fiber->stack.reset(new char[kStack]);
        fiber->place = {dim3(thread), dim3(number), size, grid};
        fiber->block = block.get();
        fiber->warp = &block->warps[thread / 32];
        ++fiber->warp->size;
        block->all.members.push_back(fiber.get());
        fiber->warp->members.push_back(fiber.get());
        getcontext(&fiber->context);
        fiber->context.uc_stack.ss_sp = fiber->stack.get();
        fiber->context.uc_stack.ss_size = kStack;
        fiber->context.uc_link = nullptr;
        makecontext(&fiber->context, run_fiber, 0);
        ready.push_back(fiber.get());
        fibers->push_back(std::move(fiber));
    }
    return block;
}

bool fail(std::string const& what) {
    device.error = what;
    ready.clear();
    return false;
}

bool all_ended(std::vector<std::unique_ptr<Block>> const& blocks, size_t shared) {
    for (auto const& block : blocks) {
        if (block->all.ended != block->all.size) {
            return fail("threads wait at a barrier that others never reach");
        }
        for (size_t i = 0; i < kGuard; ++i) {
            if (block->base[shared + i] != kCanary) {
                return fail("a block wrote beyond its shared memory");
            }
        }
    }
    return true;
}

// Return the place in `ready` of the fiber that goes on.
size_t draw() {
    size_t const any = std::uniform_int_distribution<size_t>(0, ready.size() - 1)(device.random);
    if (!device.by_warps) {
        return any;
    }
    if (device.random() % 256 == 0) {
        ready[any]->warp->rank = device.random();
    }
    auto const lower = [](Fiber const* one, Fiber const* other) { return one->warp->rank < other->warp->rank; };
    return static_cast<size_t>(std::max_element(ready.begin(), ready.end(), lower) - ready.begin());
}

// Run blocks that may wait for each other.
bool run_together(std::vector<unsigned> const& numbers, dim3 grid, dim3 size, size_t shared) {
    std::vector<std::unique_ptr<Fiber>> fibers;
    std::vector<std::unique_ptr<Block>> blocks;
    for (unsigned number : numbers) {
        blocks.push_back(make_block(number, grid, size, shared, &fibers));
    }
    idle = 0;
    while (!ready.empty()) {
        size_t const drawn = draw();
        current = ready[drawn];
        ready[drawn] = ready.back();
        ready.pop_back();
        swapcontext(&scheduler, &current->context);
        if (idle > 1000 + 100 * static_cast<long>(fibers.size())) {
            return fail("blocks wait for others for ever");
        }
    }
    return all_ended(blocks, shared);
}

cudaError_t launch(void const* function, dim3 grid, dim3 block, void** arguments, size_t shared, bool together) {
    if (shared > static_cast<size_t>(device.shared_of_block) || block.x > static_cast<unsigned>(device.threads)) {
        return cudaErrorInvalidValue;
    }
    kernel = reinterpret_cast<void (*)(attn2trt::Gate)>(const_cast<void*>(function));
    argument = *static_cast<attn2trt::Gate*>(arguments[0]);
    std::vector<unsigned> numbers(grid.x);
    for (unsigned i = 0; i < grid.x; ++i) {
        numbers[i] = i;
    }
    if (together) {
        return run_together(numbers, grid, block, shared) ? cudaSuccess : cudaErrorLaunchFailure;
    }
    std::shuffle(numbers.begin(), numbers.end(), device.random);
    for (unsigned number : numbers) {
        if (!run_together({number}, grid, block, shared)) {
            return cudaErrorLaunchFailure;
        }
    }
    return cudaSuccess;
}

}  // namespace

Place const& here() { return current->place; }

}  // namespace cpu

namespace attn2trt {
char* block_memory() { return reinterpret_cast<char*>(cpu::current->block->base); }
}  // namespace attn2trt

void __syncthreads() { cpu::wait_in(&cpu::current->block->all); }

float __shfl_xor_sync(unsigned, float value, int distance) {
    cpu::Group* warp = cpu::current->warp;
    unsigned const lane = threadIdx.x % 32;
    warp->values[lane] = value;
    cpu::wait_in(warp);
    float const other = warp->values[lane ^ static_cast<unsigned>(distance)];
    cpu::wait_in(warp);
    return other;
}

unsigned atomicAdd(unsigned* at, unsigned value) {
    cpu::idle = 0;
    unsigned const before = *at;
    *at += value;
    return before;
}

void __nanosleep(unsigned) {
    ++cpu::idle;
    cpu::current->warp->rank /= 2;  // others first
    cpu::ready.push_back(cpu::current);
    cpu::stop_here();
}

cudaError_t cudaGetDevice(int* number) {
    *number = 0;
    return cudaSuccess;
}

cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int) {
    switch (attribute) {
        case cudaDevAttrMultiProcessorCount: *value = cpu::device.processors; break;
        case cudaDevAttrMaxSharedMemoryPerBlockOptin: *value = cpu::device.shared_of_block; break;
        case cudaDevAttrMaxSharedMemoryPerMultiprocessor: *value = cpu::device.shared_of_processor; break;
        case cudaDevAttrReservedSharedMemoryPerBlock: *value = 1024; break;
        case cudaDevAttrCooperativeLaunch: *value = cpu::device.cooperative; break;
        case cudaDevAttrMaxThreadsPerBlock: *value = cpu::device.threads; break;
    }
    return cudaSuccess;
}

cudaError_t cudaFuncSetAttribute(void const*, cudaFuncAttribute, int) { return cudaSuccess; }

cudaError_t cudaOccupancyMaxActiveBlocksPerMultiprocessor(int* blocks, void const*, int, size_t shared) {
    int const found = cpu::device.shared_of_processor / (static_cast<int>(shared) + 1024);
    *blocks = found < 4 ? found : 4;
    return cudaSuccess;
}

cudaError_t cudaMemsetAsync(void* at, int value, size_t bytes, cudaStream_t) {
    std::memset(at, value, bytes);
    return cudaSuccess;
}

cudaError_t cudaLaunchKernel(void const* function, dim3 grid, dim3 block, void** arguments, size_t shared,
                             cudaStream_t) {
    return cpu::launch(function, grid, block, arguments, shared, false);
}

cudaError_t cudaLaunchCooperativeKernel(void const* function, dim3 grid, dim3 block, void** arguments, size_t shared,
                                        cudaStream_t) {
    int together = 0;
    cudaOccupancyMaxActiveBlocksPerMultiprocessor(&together, function, static_cast<int>(block.x), shared);
    if (grid.x > static_cast<unsigned>(together * cpu::device.processors)) {
        return cudaErrorCooperativeLaunchTooLarge;
    }
    return cpu::launch(function, grid, block, arguments, shared, true);
}

// Describe the device for the calls that follow; `seed` is of the order in which threads go on.
extern "C" void cpu_device(int processors, int shared_of_block, int shared_of_processor, int cooperative, int threads,
                           unsigned seed) {
    cpu::device.processors = processors;
    cpu::device.shared_of_block = shared_of_block;
    cpu::device.shared_of_processor = shared_of_processor;
    cpu::device.cooperative = cooperative;
    cpu::device.threads = threads;
    cpu::device.by_warps = seed % 2 == 1;
    cpu::device.random.seed(seed);
    cpu::device.error.clear();
}

// Why the last launch failed; empty if it did not.
extern "C" char const* cpu_error() { return cpu::device.error.c_str(); }
