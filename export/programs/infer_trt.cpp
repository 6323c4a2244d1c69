// Run a bundle's TensorRT plan once on a recorded input, and print how far it is from the truth.
//
//   infer_trt BUNDLE PLAN         PLAN is a path in the bundle, as plans/sm90-trt10.9.0-fp16.plan
//
// TensorRT 8.6 and later, or TensorRT for RTX, whose plans no other version loads. A plan is given to TensorRT only if
// its hash is the one of the manifest: whoever writes a plan chooses the code that runs. Exit code 0, or 1 with one line, as
// infer_ort has it.
//
// It has been built and linked with TensorRT 8.6.0 on a machine with a GPU, and has run no plan so far.

#include <NvInfer.h>
#include <cuda_runtime_api.h>

#include <iterator>
#include <memory>

#include "recorded_case.h"

namespace {

class Logger : public nvinfer1::ILogger {
  void log(Severity severity, const char* message) noexcept override {
    if (severity <= Severity::kERROR) std::cerr << message << "\n";
  }
};

void check(cudaError_t code) {
  if (code != cudaSuccess) throw std::runtime_error(cudaGetErrorString(code));
}

void check(bool done, const std::string& what) {
  if (!done) throw std::runtime_error("TensorRT refuses " + what);
}

std::string name_of(nvinfer1::DataType type) {
  switch (type) {
    case nvinfer1::DataType::kFLOAT: return "F32";
    case nvinfer1::DataType::kHALF: return "F16";
    case nvinfer1::DataType::kINT8: return "I8";
    case nvinfer1::DataType::kINT32: return "I32";
    case nvinfer1::DataType::kBOOL: return "BOOL";
    case nvinfer1::DataType::kUINT8: return "U8";
    default: break;
  }
#if NV_TENSORRT_MAJOR >= 10 || defined(TRT_MAJOR_RTX)
  if (type == nvinfer1::DataType::kINT64) return "I64";
#endif
  throw std::runtime_error("a tensor has a type that this program does not have");
}

// The device's memory of one tensor.
class Buffer {
 public:
  explicit Buffer(std::size_t size) : size_(size) { check(cudaMalloc(&address_, size ? size : 1)); }
  ~Buffer() { cudaFree(address_); }
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;
  void put(const std::string& data) { check(cudaMemcpy(address_, data.data(), data.size(), cudaMemcpyHostToDevice)); }
  std::string get() const {
    std::string found(size_, '\0');
    check(cudaMemcpy(found.data(), address_, size_, cudaMemcpyDeviceToHost));
    return found;
  }
  void* address() const { return address_; }

 private:
  void* address_ = nullptr;
  std::size_t size_;
};

// What the manifest says of the plan.
const bundle::Json& entry_of(const bundle::Json& manifest, const std::string& name) {
  for (const bundle::Json& plan : manifest.at("plans").items) {
    if (plan.at("file").text == name) return plan;
  }
  throw std::runtime_error("the manifest has no plan " + name);
}

// Without a device TensorRT 8.6 ends the process and does not say why.
void require_device() {
  int count = 0;
  check(cudaGetDeviceCount(&count));
  if (count == 0) throw std::runtime_error("there is no GPU");
}

// The first profile that holds the recorded sizes.
std::int32_t profile_of(const nvinfer1::ICudaEngine& engine, const std::vector<bundle::Tensor>& inputs) {
  for (std::int32_t profile = 0; profile < engine.getNbOptimizationProfiles(); ++profile) {
    bool fits = true;
    for (const bundle::Tensor& tensor : inputs) {
      const char* const name = tensor.name.c_str();
      const nvinfer1::Dims low = engine.getProfileShape(name, profile, nvinfer1::OptProfileSelector::kMIN);
      const nvinfer1::Dims high = engine.getProfileShape(name, profile, nvinfer1::OptProfileSelector::kMAX);
      if (low.nbDims != static_cast<std::int32_t>(tensor.shape.size())) continue;  // a fixed shape has no range
      for (std::size_t axis = 0; axis < tensor.shape.size(); ++axis)
        fits = fits && low.d[axis] <= tensor.shape[axis] && tensor.shape[axis] <= high.d[axis];
    }
    if (fits) return profile;
  }
  throw std::runtime_error("the recorded sizes lie outside of the plan's profiles");
}

class Stream {
 public:
  Stream() { check(cudaStreamCreate(&stream_)); }
  ~Stream() { cudaStreamDestroy(stream_); }
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;
  void wait() const { check(cudaStreamSynchronize(stream_)); }
  cudaStream_t get() const { return stream_; }

 private:
  cudaStream_t stream_ = nullptr;
};

int run(const std::filesystem::path& folder, const std::string& name) {
  const bundle::Json manifest = bundle::read_manifest(folder);
  const bundle::Case recorded = bundle::read_case(folder, manifest);
  const std::string plan = bundle::read_listed(folder, manifest, name);
  const bundle::Json& entry = entry_of(manifest, name);
  // Such a plan carries a runtime of its own, whose code is run; the hash has proven that it is the one meant.
  const bool is_compatible = entry.at("flags").says("version_compatible");
  require_device();
  Logger logger;
  const std::unique_ptr<nvinfer1::IRuntime> runtime(nvinfer1::createInferRuntime(logger));
  check(runtime != nullptr, "to start");
#ifdef TRT_MAJOR_RTX
  static_cast<void>(is_compatible);
#else
  if (is_compatible) runtime->setEngineHostCodeAllowed(true);
#endif
  const std::unique_ptr<nvinfer1::ICudaEngine> engine(runtime->deserializeCudaEngine(plan.data(), plan.size()));
  check(engine != nullptr, "the plan");
  const std::unique_ptr<nvinfer1::IExecutionContext> context(engine->createExecutionContext());
  check(context != nullptr, "to run the plan");
  const Stream stream;
  if (const std::int32_t profile = profile_of(*engine, recorded.inputs)) {
    check(context->setOptimizationProfileAsync(profile, stream.get()), "profile " + std::to_string(profile));
    stream.wait();
  }
  std::vector<std::unique_ptr<Buffer>> buffers;
  for (const bundle::Tensor& tensor : recorded.inputs) {
    const bundle::Tensor given = bundle::as_typed(tensor, name_of(engine->getTensorDataType(tensor.name.c_str())));
    nvinfer1::Dims shape{};
    check(given.shape.size() <= std::size(shape.d), "the shape of " + given.name);
    shape.nbDims = static_cast<std::int32_t>(given.shape.size());
    for (std::size_t axis = 0; axis < given.shape.size(); ++axis)
      shape.d[axis] = static_cast<std::remove_reference_t<decltype(shape.d[0])>>(given.shape[axis]);
    check(context->setInputShape(given.name.c_str(), shape), "the shape of " + given.name);
    buffers.push_back(std::make_unique<Buffer>(given.data.size()));
    buffers.back()->put(given.data);
    check(context->setTensorAddress(given.name.c_str(), buffers.back()->address()), "the input " + given.name);
  }
  std::vector<bundle::Tensor> outputs;
  for (const bundle::Tensor& expected : recorded.expected) {
    const nvinfer1::Dims shape = context->getTensorShape(expected.name.c_str());
    bundle::Tensor output{expected.name, name_of(engine->getTensorDataType(expected.name.c_str())), {}, {}};
    for (std::int32_t axis = 0; axis < shape.nbDims; ++axis) output.shape.push_back(shape.d[axis]);
    buffers.push_back(std::make_unique<Buffer>(output.count() * bundle::bytes_of(output.dtype)));
    check(context->setTensorAddress(output.name.c_str(), buffers.back()->address()), "the output " + output.name);
    outputs.push_back(output);
  }
  check(context->enqueueV3(stream.get()), "to run the plan");
  stream.wait();
  bool right = true;
  for (std::size_t at = 0; at < outputs.size(); ++at) {
    outputs[at].data = buffers[recorded.inputs.size() + at]->get();
    const double most = recorded.most(at, entry.at("precision").text);
    right = bundle::print_difference(outputs[at], recorded.expected[at], recorded.truth, most) && right;
  }
  return right ? 0 : 1;
}

}  // namespace

int main(int count, char** words) {
  if (count != 3) {
    std::cerr << "usage: infer_trt BUNDLE PLAN\n";
    return 2;
  }
  try {
    return run(words[1], words[2]);
  } catch (const std::exception& error) {
    std::cerr << "error: " << error.what() << "\n";
    return 1;
  }
}
