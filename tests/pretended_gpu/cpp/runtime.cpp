// TensorRT and CUDA's runtime on a pretended GPU, whose memory is the host's. Every plan computes y = x * 2.
//
// The environment says what kind of plan it is: PRETENDED_FACTOR another factor, PRETENDED_TYPE the number of a type
// (float16 copies the bits and multiplies by adding 1 to the exponent), PRETENDED_BATCHES the least and greatest batch
// of each profile, as "8:16 1:8", PRETENDED_GPUS=0 no device, PRETENDED_REFUSES the call that fails. Calls go to stderr.

#include <cstdlib>
#include <cstring>
#include <iostream>
#include <map>
#include <sstream>
#include <string>
#include <vector>

#include "NvInfer.h"

namespace {

std::string setting(const char* name, const char* otherwise) {
  const char* const found = std::getenv(name);
  return found ? found : otherwise;
}

// Note a call; false if it is the one that fails.
bool note(const std::string& call) {
  std::cerr << call << "\n";
  return call.substr(0, call.find(' ')) != setting("PRETENDED_REFUSES", "");
}

nvinfer1::DataType type() { return static_cast<nvinfer1::DataType>(std::stoi(setting("PRETENDED_TYPE", "0"))); }

std::vector<std::pair<int, int>> batches() {
  std::istringstream text(setting("PRETENDED_BATCHES", "1:8"));
  std::vector<std::pair<int, int>> found;
  char colon;
  for (int low, high; text >> low >> colon >> high;) found.push_back({low, high});
  return found;
}

class Context : public nvinfer1::IExecutionContext {
 public:
  bool setOptimizationProfileAsync(std::int32_t profile, cudaStream_t) noexcept override {
    return note("setOptimizationProfileAsync " + std::to_string(profile));
  }
  bool setInputShape(const char*, const nvinfer1::Dims& shape) noexcept override {
    shape_ = shape;
    return note("setInputShape");
  }
  bool setTensorAddress(const char* name, void* address) noexcept override {
    addresses_[name] = address;
    return note(std::string("setTensorAddress ") + name);
  }
  nvinfer1::Dims getTensorShape(const char*) const noexcept override { return shape_; }
  bool enqueueV3(cudaStream_t) noexcept override {
    std::size_t count = 1;
    for (std::int32_t axis = 0; axis < shape_.nbDims; ++axis) count *= static_cast<std::size_t>(shape_.d[axis]);
    if (type() == nvinfer1::DataType::kHALF) {
      compute<std::uint16_t>(count, [](std::uint16_t x) { return static_cast<std::uint16_t>(x + (1u << 10)); });
    } else {
      const float factor = std::stof(setting("PRETENDED_FACTOR", "2"));
      compute<float>(count, [factor](float x) { return x * factor; });
    }
    return note("enqueueV3");
  }

 private:
  template <class Value, class Function>
  void compute(std::size_t count, Function function) {
    const Value* const x = static_cast<const Value*>(addresses_["x"]);
    Value* const y = static_cast<Value*>(addresses_["y"]);
    for (std::size_t at = 0; at < count; ++at) y[at] = function(x[at]);
  }
  nvinfer1::Dims shape_{};
  std::map<std::string, void*> addresses_;
};

class Engine : public nvinfer1::ICudaEngine {
 public:
  std::int32_t getNbOptimizationProfiles() const noexcept override { return static_cast<std::int32_t>(batches().size()); }
  nvinfer1::Dims getProfileShape(
      const char*, std::int32_t profile, nvinfer1::OptProfileSelector which) const noexcept override {
    const auto [low, high] = batches()[static_cast<std::size_t>(profile)];
    const bool is_least = which == nvinfer1::OptProfileSelector::kMIN;
    return {4, {is_least ? low : high, 3, is_least ? 2 : 6, 4}};
  }
  nvinfer1::DataType getTensorDataType(const char*) const noexcept override { return type(); }
  nvinfer1::IExecutionContext* createExecutionContext() noexcept override {
    return note("createExecutionContext") ? new Context : nullptr;
  }
};

class Runtime : public nvinfer1::IRuntime {
 public:
  void setEngineHostCodeAllowed(bool allowed) noexcept override { note(allowed ? "allow host code" : "no host code"); }
  nvinfer1::ICudaEngine* deserializeCudaEngine(const void* plan, std::size_t size) noexcept override {
    return note("deserializeCudaEngine " + std::string(static_cast<const char*>(plan), size)) ? new Engine : nullptr;
  }
};

}  // namespace

nvinfer1::IRuntime* nvinfer1::createInferRuntime(ILogger&) noexcept {
  return note("createInferRuntime") ? new Runtime : nullptr;
}

extern "C" {
cudaError_t cudaGetDeviceCount(int* count) {
  *count = std::stoi(setting("PRETENDED_GPUS", "1"));
  return *count ? cudaSuccess : cudaErrorNoDevice;
}
const char* cudaGetErrorString(cudaError_t) { return "CUDA finds no device"; }
cudaError_t cudaMalloc(void** address, size_t size) {
  *address = std::malloc(size);
  return cudaSuccess;
}
cudaError_t cudaFree(void* address) {
  std::free(address);
  return cudaSuccess;
}
cudaError_t cudaMemcpy(void* to, const void* from, size_t size, cudaMemcpyKind) {
  std::memcpy(to, from, size);
  return cudaSuccess;
}
cudaError_t cudaStreamCreate(cudaStream_t* stream) {
  *stream = nullptr;
  return cudaSuccess;
}
cudaError_t cudaStreamDestroy(cudaStream_t) { return cudaSuccess; }
cudaError_t cudaStreamSynchronize(cudaStream_t) { return cudaSuccess; }
}
