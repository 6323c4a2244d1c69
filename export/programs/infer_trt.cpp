// Run a bundle's TensorRT plan once on a recorded input, and print how far it is from PyTorch.
//
//   infer_trt BUNDLE PLAN         PLAN is a path in the bundle, as plans/sm90-trt10.9.0-fp16.plan
//
// TensorRT 8.6 and later, or TensorRT for RTX, whose plans no other version loads. A plan is given to TensorRT only if
// its hash is the one of the manifest: whoever writes a plan chooses the code that runs. Exit code 0, or 1 with one line.
//
// UNTESTED: this file has been compiled against TensorRT's headers, and has run on no GPU so far.

#include <NvInfer.h>
#include <cuda_runtime_api.h>

#include <memory>

#include "recorded_case.h"
#include "sha256.h"

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

// TensorRT before 10 has no INT64: its plans take and give INT32.
bundle::Tensor as_typed(const bundle::Tensor& tensor, const std::string& dtype) {
  if (tensor.dtype == dtype) return tensor;
  if (tensor.dtype != "I64" || dtype != "I32")
    throw std::runtime_error(tensor.name + " is " + tensor.dtype + ", and the plan takes " + dtype);
  bundle::Tensor found{tensor.name, dtype, tensor.shape, {}};
  for (std::size_t at = 0; at < tensor.count(); ++at) {
    const auto wide = bundle::element<std::int64_t>(tensor.data.data(), at);
    const auto narrow = static_cast<std::int32_t>(wide);
    if (narrow != wide) throw std::runtime_error(tensor.name + " holds a number that INT32 cannot hold");
    found.data.append(reinterpret_cast<const char*>(&narrow), sizeof narrow);
  }
  return found;
}

std::string read_plan(const std::filesystem::path& folder, const std::string& name) {
  const std::string expected = bundle::read_manifest(folder).at("files").at(name).at("sha256").text;
  std::string plan = bundle::read_file(folder / name);
  const std::string found = bundle::sha256(plan);
  if (found != expected) throw std::runtime_error(name + " has sha256 " + found + "; the manifest has " + expected);
  return plan;
}

int run(const std::filesystem::path& folder, const std::string& name) {
  const bundle::Case recorded = bundle::read_case(folder);
  const std::string plan = read_plan(folder, name);
  Logger logger;
  const std::unique_ptr<nvinfer1::IRuntime> runtime(nvinfer1::createInferRuntime(logger));
  check(runtime != nullptr, "to start");
  const std::unique_ptr<nvinfer1::ICudaEngine> engine(runtime->deserializeCudaEngine(plan.data(), plan.size()));
  check(engine != nullptr, "the plan");
  const std::unique_ptr<nvinfer1::IExecutionContext> context(engine->createExecutionContext());
  check(context != nullptr, "to run the plan");
  std::vector<std::unique_ptr<Buffer>> buffers;
  for (const bundle::Tensor& tensor : recorded.inputs) {
    const bundle::Tensor given = as_typed(tensor, name_of(engine->getTensorDataType(tensor.name.c_str())));
    nvinfer1::Dims shape{};
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
  cudaStream_t stream = nullptr;
  check(cudaStreamCreate(&stream));
  check(context->enqueueV3(stream), "to run the plan");
  check(cudaStreamSynchronize(stream));
  check(cudaStreamDestroy(stream));
  bool right = true;
  for (std::size_t at = 0; at < outputs.size(); ++at) {
    outputs[at].data = buffers[recorded.inputs.size() + at]->get();
    right = bundle::print_difference(outputs[at], recorded.expected[at]) && right;
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
