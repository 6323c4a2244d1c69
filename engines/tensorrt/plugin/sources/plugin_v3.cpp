// The channel gate as an IPluginV3, for TensorRT from 10 on and TensorRT for RTX.
#include "node.h"

namespace attn2trt {
namespace {

using namespace nvinfer1;

class ChannelGate final : public IPluginV3, public IPluginV3OneCore, public IPluginV3OneBuild, public IPluginV3OneRuntime {
public:
    explicit ChannelGate(Fields const& fields) : fields_(fields), stored_(&fields_) {}

    IPluginCapability* getCapabilityInterface(PluginCapabilityType type) noexcept override {
        switch (type) {
            case PluginCapabilityType::kCORE: return static_cast<IPluginV3OneCore*>(this);
            case PluginCapabilityType::kBUILD: return static_cast<IPluginV3OneBuild*>(this);
            case PluginCapabilityType::kRUNTIME: return static_cast<IPluginV3OneRuntime*>(this);
        }
        return nullptr;
    }

    IPluginV3* clone() noexcept override {
        auto* made = new (std::nothrow) ChannelGate(fields_);
        if (made != nullptr) {
            made->inputs_ = inputs_;
        }
        return made;
    }

    AsciiChar const* getPluginName() const noexcept override { return kName; }
    AsciiChar const* getPluginVersion() const noexcept override { return kVersion; }
    AsciiChar const* getPluginNamespace() const noexcept override { return ""; }

    int32_t configurePlugin(DynamicPluginTensorDesc const* in, int32_t inputs, DynamicPluginTensorDesc const*,
                            int32_t) noexcept override {
        Dims dims[kMostInputs];
        for (int i = 0; i < inputs && i < kMostInputs; ++i) {
            dims[i] = in[i].desc.dims;
        }
        inputs_ = inputs;
        return agree(dims, inputs) ? 0 : 1;
    }

    int32_t getOutputDataTypes(DataType* types, int32_t outputs, DataType const* given,
                               int32_t inputs) const noexcept override {
        if (outputs != 1 || inputs < kFewestInputs) {
            return 1;
        }
        types[0] = given[0];
        return 0;
    }

    int32_t getOutputShapes(DimsExprs const* given, int32_t inputs, DimsExprs const*, int32_t, DimsExprs* made,
                            int32_t outputs, IExprBuilder&) noexcept override {
        if (outputs != 1 || inputs < kFewestInputs || inputs > kMostInputs || given[0].nbDims != 4) {
            return 1;
        }
        made[0] = given[0];
        return 0;
    }

    bool supportsFormatCombination(int32_t position, DynamicPluginTensorDesc const* all, int32_t inputs,
                                   int32_t) noexcept override {
        return supports(position, all[position].desc, all[0].desc, inputs);
    }

    int32_t getNbOutputs() const noexcept override { return 1; }

    size_t getWorkspaceSize(DynamicPluginTensorDesc const* in, int32_t, DynamicPluginTensorDesc const*,
                            int32_t) const noexcept override {
        return workspace_bytes(sizes_of(in[0].max, in[1].max));
    }

    int32_t onShapeChange(PluginTensorDesc const* in, int32_t inputs, PluginTensorDesc const*,
                          int32_t) noexcept override {
        Dims dims[kMostInputs];
        for (int i = 0; i < inputs && i < kMostInputs; ++i) {
            dims[i] = in[i].dims;
        }
        inputs_ = inputs;
        return agree(dims, inputs) ? 0 : 1;
    }

    int32_t enqueue(PluginTensorDesc const* in, PluginTensorDesc const*, void const* const* given, void* const* made,
                    void* workspace, cudaStream_t stream) noexcept override {
        return run(fields_, in, inputs_, given, made, workspace, stream, &plan_);
    }

    IPluginV3* attachToContext(IPluginResourceContext*) noexcept override { return clone(); }

    PluginFieldCollection const* getFieldsToSerialize() noexcept override { return &stored_.collection; }

private:
    Fields const fields_;
    FieldList const stored_;
    int inputs_ = 0;
    Plan plan_{};
};

class Creator final : public IPluginCreatorV3One {
public:
    IPluginV3* createPlugin(AsciiChar const*, PluginFieldCollection const* given, TensorRTPhase) noexcept override {
        Fields fields;
        return read_fields(given, &fields) ? new (std::nothrow) ChannelGate(fields) : nullptr;
    }

    PluginFieldCollection const* getFieldNames() noexcept override { return &names_.collection; }
    AsciiChar const* getPluginName() const noexcept override { return kName; }
    AsciiChar const* getPluginVersion() const noexcept override { return kVersion; }
    AsciiChar const* getPluginNamespace() const noexcept override { return ""; }

private:
    FieldList const names_{nullptr};
};

}  // namespace
}  // namespace attn2trt

// The two names that TensorRT looks for in a library of plugins.
extern "C" __attribute__((visibility("default"))) void setLoggerFinder(nvinfer1::ILoggerFinder*) {}

extern "C" __attribute__((visibility("default"))) nvinfer1::IPluginCreatorInterface* const* getCreators(
    int32_t& count) {
    static attn2trt::Creator creator;
    static nvinfer1::IPluginCreatorInterface* const creators[] = {&creator};
    count = 1;
    return creators;
}
