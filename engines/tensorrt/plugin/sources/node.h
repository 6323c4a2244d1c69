// The plugin node of a network: its fields and tensors, in whichever interface of TensorRT.
//
// ChannelGate(x, w1, b1, w2, b2[, residual]) -> y, with the fields `last` (0 sigmoid, 1 hard sigmoid) and `relu` (0, 1).
#pragma once

#include <NvInferPlugin.h>

#include <climits>
#include <cstring>
#include <new>

#include "channel_gate.h"

namespace attn2trt {

constexpr char const* kName = "ChannelGate";
constexpr char const* kVersion = "1";
constexpr int kFewestInputs = 5;
constexpr int kMostInputs = 6;

// What the node's fields say. Plain numbers: they are stored in plans as they are.
struct Fields {
    int last = 0;
    int relu = 0;

    bool are_known() const { return (last == 0 || last == 1) && (relu == 0 || relu == 1); }
};

// The fields' description for TensorRT, pointing at the numbers.
struct FieldList {
    nvinfer1::PluginField fields[2];
    nvinfer1::PluginFieldCollection collection;

    explicit FieldList(Fields const* of)
        : fields{{"last", of == nullptr ? nullptr : &of->last, nvinfer1::PluginFieldType::kINT32, 1},
                 {"relu", of == nullptr ? nullptr : &of->relu, nvinfer1::PluginFieldType::kINT32, 1}},
          collection{2, fields} {}
    FieldList(FieldList const&) = delete;
    FieldList& operator=(FieldList const&) = delete;
};

// Read what a parser or a plan gives. False for a field of another type and for a number that means nothing.
inline bool read_fields(nvinfer1::PluginFieldCollection const* given, Fields* found) {
    for (int i = 0; given != nullptr && i < given->nbFields; ++i) {
        nvinfer1::PluginField const& field = given->fields[i];
        int* const wanted = std::strcmp(field.name, "last") == 0   ? &found->last
                            : std::strcmp(field.name, "relu") == 0 ? &found->relu
                                                                   : nullptr;
        if (wanted == nullptr) {
            continue;  // the parser adds fields of its own
        }
        if (field.type != nvinfer1::PluginFieldType::kINT32 || field.length != 1 || field.data == nullptr) {
            return false;
        }
        std::memcpy(wanted, field.data, sizeof(int));
    }
    return found->are_known();
}

// The size of axis `axis` of a description, whatever type its sizes have.
inline int axis_of(nvinfer1::Dims const& dims, int axis) { return static_cast<int>(dims.d[axis]); }

// Tell whether the sizes go together; those of a network that are not yet known are negative.
inline bool agree(nvinfer1::Dims const* dims, int inputs) {
    if (inputs < kFewestInputs || inputs > kMostInputs) {
        return false;
    }
    int const ranks[kMostInputs] = {4, 2, 1, 2, 1, 4};
    for (int i = 0; i < inputs; ++i) {
        if (dims[i].nbDims != ranks[i]) {
            return false;
        }
    }
    auto const same = [](int one, int other) { return one < 0 || other < 0 || one == other; };
    int const c = axis_of(dims[0], 1), hidden = axis_of(dims[1], 0);
    bool good = same(axis_of(dims[1], 1), c) && same(axis_of(dims[2], 0), hidden) && same(axis_of(dims[3], 0), c) &&
                same(axis_of(dims[3], 1), hidden) && same(axis_of(dims[4], 0), c);
    for (int axis = 0; inputs == kMostInputs && axis < 4; ++axis) {
        good = good && same(axis_of(dims[5], axis), axis_of(dims[0], axis));
    }
    return good;
}

inline Sizes sizes_of(nvinfer1::Dims const& x, nvinfer1::Dims const& w1) {
    long long const pixels = static_cast<long long>(axis_of(x, 2)) * axis_of(x, 3);
    return {axis_of(x, 0), axis_of(x, 1), pixels > INT_MAX ? 0 : static_cast<int>(pixels), axis_of(w1, 0)};
}

// Maps are float or half in plain (n, c, h, w), all alike; weights and biases are float.
inline bool supports(int position, nvinfer1::PluginTensorDesc const& asked, nvinfer1::PluginTensorDesc const& x,
                     int inputs) {
    if (asked.format != nvinfer1::TensorFormat::kLINEAR) {
        return false;
    }
    if (position > 0 && position < kFewestInputs && position < inputs) {
        return asked.type == nvinfer1::DataType::kFLOAT;
    }
    return position == 0 ? asked.type == nvinfer1::DataType::kFLOAT || asked.type == nvinfer1::DataType::kHALF
                         : asked.type == x.type;
}

// Run the node. `plan` is made anew if the sizes are others than at the last call, or the device.
inline int run(Fields const& fields, nvinfer1::PluginTensorDesc const* described, int inputs,
               void const* const* given, void* const* made, void* workspace, cudaStream_t stream, Plan* plan) {
    nvinfer1::Dims dims[kMostInputs];
    for (int i = 0; i < inputs && i < kMostInputs; ++i) {
        dims[i] = described[i].dims;
    }
    if (!agree(dims, inputs)) {
        return 1;
    }
    Sizes const sizes = sizes_of(dims[0], dims[1]);
    Type const type = described[0].type == nvinfer1::DataType::kHALF ? Type::kHalf : Type::kFloat;
    int device = -1;
    cudaError_t error = cudaGetDevice(&device);
    bool const known = plan->sizes.n == sizes.n && plan->sizes.c == sizes.c && plan->sizes.pixels == sizes.pixels &&
                       plan->sizes.hidden == sizes.hidden && plan->type == type && plan->device == device;
    if (error == cudaSuccess && !known) {
        error = plan_gate(sizes, type, plan);
        plan->sizes = error == cudaSuccess ? plan->sizes : Sizes{};
    }
    if (error != cudaSuccess) {
        return 1;
    }
    Gate gate{};
    gate.x = given[0];
    gate.w1 = static_cast<float const*>(given[1]);
    gate.b1 = static_cast<float const*>(given[2]);
    gate.w2 = static_cast<float const*>(given[3]);
    gate.b2 = static_cast<float const*>(given[4]);
    gate.residual = inputs == kMostInputs ? given[5] : nullptr;
    gate.y = made[0];
    gate.last = static_cast<Last>(fields.last);
    gate.relu = fields.relu;
    return launch_gate(*plan, gate, workspace, stream) == cudaSuccess ? 0 : 1;
}

}  // namespace attn2trt
