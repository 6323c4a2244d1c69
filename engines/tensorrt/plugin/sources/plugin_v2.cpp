// The channel gate as an IPluginV2DynamicExt, for TensorRT 8.6.
#include "node.h"

#include <string>

namespace attn2trt {
namespace {

using namespace nvinfer1;

class ChannelGate final : public IPluginV2DynamicExt {
public:
    explicit ChannelGate(Fields const& fields) : fields_(fields) {}

    IPluginV2DynamicExt* clone() const noexcept override {
        auto* made = new (std::nothrow) ChannelGate(fields_);
        if (made != nullptr) {
            made->inputs_ = inputs_;
            made->namespace_ = namespace_;
        }
        return made;
    }

    AsciiChar const* getPluginType() const noexcept override { return kName; }
    AsciiChar const* getPluginVersion() const noexcept override { return kVersion; }
    int32_t getNbOutputs() const noexcept override { return 1; }
    int32_t initialize() noexcept override { return 0; }
    void terminate() noexcept override {}
    void destroy() noexcept override { delete this; }
    void setPluginNamespace(AsciiChar const* name) noexcept override { namespace_ = name; }
    AsciiChar const* getPluginNamespace() const noexcept override { return namespace_.c_str(); }

    DataType getOutputDataType(int32_t, DataType const* given, int32_t) const noexcept override { return given[0]; }

    DimsExprs getOutputDimensions(int32_t, DimsExprs const* given, int32_t, IExprBuilder&) noexcept override {
        return given[0];
    }

    bool supportsFormatCombination(int32_t position, PluginTensorDesc const* all, int32_t inputs,
                                   int32_t) noexcept override {
        return inputs >= kFewestInputs && inputs <= kMostInputs && supports(position, all[position], all[0], inputs);
    }

    void configurePlugin(DynamicPluginTensorDesc const*, int32_t inputs, DynamicPluginTensorDesc const*,
                         int32_t) noexcept override {
        inputs_ = inputs;
    }

    size_t getWorkspaceSize(PluginTensorDesc const* in, int32_t, PluginTensorDesc const*,
                            int32_t) const noexcept override {
        return workspace_bytes(sizes_of(in[0].dims, in[1].dims));
    }

    int32_t enqueue(PluginTensorDesc const* in, PluginTensorDesc const*, void const* const* given, void* const* made,
                    void* workspace, cudaStream_t stream) noexcept override {
        return run(fields_, in, inputs_, given, made, workspace, stream, &plan_);
    }

    size_t getSerializationSize() const noexcept override { return sizeof(Stored); }

    void serialize(void* buffer) const noexcept override {
        Stored const stored{fields_, inputs_};
        std::memcpy(buffer, &stored, sizeof(stored));
    }

    static IPluginV2DynamicExt* read(void const* data, size_t length) {
        Stored stored;
        if (data == nullptr || length != sizeof(stored)) {
            return nullptr;
        }
        std::memcpy(&stored, data, sizeof(stored));
        if (!stored.fields.are_known() || stored.inputs < kFewestInputs || stored.inputs > kMostInputs) {
            return nullptr;
        }
        auto* made = new (std::nothrow) ChannelGate(stored.fields);
        if (made != nullptr) {
            made->inputs_ = stored.inputs;
        }
        return made;
    }

private:
    struct Stored {
        Fields fields;
        int inputs;
    };

    Fields const fields_;
    int inputs_ = 0;
    std::string namespace_;
    Plan plan_{};
};

class Creator final : public IPluginCreator {
public:
    IPluginV2* createPlugin(AsciiChar const*, PluginFieldCollection const* given) noexcept override {
        Fields fields;
        return read_fields(given, &fields) ? named(new (std::nothrow) ChannelGate(fields)) : nullptr;
    }

    IPluginV2* deserializePlugin(AsciiChar const*, void const* data, size_t length) noexcept override {
        return named(ChannelGate::read(data, length));
    }

    PluginFieldCollection const* getFieldNames() noexcept override { return &names_.collection; }
    AsciiChar const* getPluginName() const noexcept override { return kName; }
    AsciiChar const* getPluginVersion() const noexcept override { return kVersion; }
    void setPluginNamespace(AsciiChar const* name) noexcept override { namespace_ = name; }
    AsciiChar const* getPluginNamespace() const noexcept override { return namespace_.c_str(); }

private:
    IPluginV2* named(IPluginV2* made) const {
        if (made != nullptr) {
            made->setPluginNamespace(namespace_.c_str());
        }
        return made;
    }

    FieldList const names_{nullptr};
    std::string namespace_;
};

}  // namespace
}  // namespace attn2trt

// The two names that TensorRT looks for in a library of plugins.
extern "C" __attribute__((visibility("default"))) void setLoggerFinder(nvinfer1::ILoggerFinder*) {}

extern "C" __attribute__((visibility("default"))) nvinfer1::IPluginCreator* const* getPluginCreators(int32_t& count) {
    static attn2trt::Creator creator;
    static nvinfer1::IPluginCreator* const creators[] = {&creator};
    count = 1;
    return creators;
}
