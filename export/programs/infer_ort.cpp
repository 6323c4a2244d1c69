// Run a bundle's graph once in ONNX Runtime on a recorded input, and print how far it is from the truth.
//
//   infer_ort BUNDLE [GRAPH]      GRAPH is model.onnx if none is named
//
// Exit code 0, or 1 with one line if the manifest was changed, if a file is not the one that it lists, if the graph does
// not run, or if an output has another shape than the truth's, is no number, or is further from it than the verdict passes.

#include <onnxruntime_cxx_api.h>

#include <algorithm>
#include <cstdlib>
#include <string>
#include <vector>

#include "recorded_case.h"

namespace {

ONNXTensorElementDataType type_of(const std::string& dtype) {
  if (dtype == "F32") return ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT;
  if (dtype == "F16") return ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT16;
  if (dtype == "F64") return ONNX_TENSOR_ELEMENT_DATA_TYPE_DOUBLE;
  if (dtype == "I64") return ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64;
  if (dtype == "I32") return ONNX_TENSOR_ELEMENT_DATA_TYPE_INT32;
  if (dtype == "U8") return ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT8;
  if (dtype == "BOOL") return ONNX_TENSOR_ELEMENT_DATA_TYPE_BOOL;
  throw std::runtime_error("this program has no type " + dtype);
}

std::string name_of(ONNXTensorElementDataType type) {
  for (const char* name : {"F32", "F16", "F64", "I64", "I32", "U8", "BOOL"}) {
    if (type_of(name) == type) return name;
  }
  throw std::runtime_error("a tensor has a type that this program does not have");
}

// The type that the graph takes an input in.
std::string taken(const Ort::Session& session, const std::string& name) {
  Ort::AllocatorWithDefaultOptions allocator;
  for (std::size_t at = 0; at < session.GetInputCount(); ++at) {
    if (name == session.GetInputNameAllocated(at, allocator).get())
      return name_of(session.GetInputTypeInfo(at).GetTensorTypeAndShapeInfo().GetElementType());
  }
  throw std::runtime_error("the graph has no input " + name);
}

// Throws unless the graph, and what is beside it of its weights, are the files that the manifest lists.
void require_listed(const std::filesystem::path& folder, const bundle::Json& manifest, const std::string& graph) {
  bundle::read_listed(folder, manifest, graph);
  for (const auto& file : manifest.at("files").members) {
    if (std::filesystem::path(file.first).extension() == ".data") bundle::read_listed(folder, manifest, file.first);
  }
}

// Precisions whose graphs ONNX Runtime's optimiser gets wrong.
const std::vector<std::string> as_written{"int8-fp16", "fp8"};

// The precision of a graph of the bundle, as its manifest says it; "" for one that the manifest does not name.
std::string precision_of(const bundle::Json& manifest, const std::string& graph) {
  const bundle::Json* const on_cpu = manifest.find("tuned");
  if (graph == "model.onnx" || (on_cpu != nullptr && on_cpu->at("file").text == graph)) {
    const bundle::Json* const own = manifest.find("precision");
    return own == nullptr ? "fp32" : own->text;
  }
  if (const bundle::Json* const lower = manifest.find("precisions")) {
    for (const auto& entry : lower->members) {
      if (entry.second.at("file").text == graph) return entry.first;
    }
  }
  if (const bundle::Json* const tuned = manifest.find("tuned_graphs")) {
    for (const bundle::Json& entry : tuned->items) {
      if (entry.at("file").text == graph) return entry.at("precision").text;
    }
  }
  return "";
}

Ort::SessionOptions options_for(const std::string& precision) {
  Ort::SessionOptions options;
  if (std::find(as_written.begin(), as_written.end(), precision) != as_written.end())
    options.SetGraphOptimizationLevel(ORT_DISABLE_ALL);
  return options;
}

// ONNX Runtime 1.29 and later otherwise tell Microsoft what they run.
void keep_quiet() {
#ifdef _WIN32
  _putenv_s("ORT_DISABLE_TELEMETRY", "1");
#else
  setenv("ORT_DISABLE_TELEMETRY", "1", 0);
#endif
}

int run(const std::filesystem::path& folder, const std::string& graph) {
  keep_quiet();
  const bundle::Json manifest = bundle::read_manifest(folder);
  require_listed(folder, manifest, graph);
  bundle::Case recorded = bundle::read_case(folder, manifest);
  const std::string precision = precision_of(manifest, graph);
  const Ort::Env environment(ORT_LOGGING_LEVEL_ERROR, "infer_ort");
  Ort::Session session(environment, (folder / graph).c_str(), options_for(precision));
  const Ort::MemoryInfo memory = Ort::MemoryInfo::CreateCpu(OrtArenaAllocator, OrtMemTypeDefault);
  std::vector<Ort::Value> feeds;
  std::vector<const char*> inputs, outputs;
  for (bundle::Tensor& tensor : recorded.inputs) tensor = bundle::as_typed(tensor, taken(session, tensor.name));
  for (bundle::Tensor& tensor : recorded.inputs) {
    inputs.push_back(tensor.name.c_str());
    feeds.push_back(Ort::Value::CreateTensor(memory, tensor.data.data(), tensor.data.size(), tensor.shape.data(),
                                             tensor.shape.size(), type_of(tensor.dtype)));
  }
  for (const bundle::Tensor& tensor : recorded.expected) outputs.push_back(tensor.name.c_str());
  std::vector<Ort::Value> found = session.Run(Ort::RunOptions{}, inputs.data(), feeds.data(), feeds.size(),
                                              outputs.data(), outputs.size());
  bool right = true;
  for (std::size_t at = 0; at < found.size(); ++at) {
    const auto about = found[at].GetTensorTypeAndShapeInfo();
    bundle::Tensor output{outputs[at], name_of(about.GetElementType()), about.GetShape(), {}};
    const char* data = static_cast<const char*>(found[at].GetTensorRawData());
    output.data.assign(data, output.count() * bundle::bytes_of(output.dtype));
    const double most = recorded.most(at, precision);
    right = bundle::print_difference(output, recorded.expected[at], recorded.truth, most) && right;
  }
  return right ? 0 : 1;
}

}  // namespace

int main(int count, char** words) {
  if (count < 2 || count > 3) {
    std::cerr << "usage: infer_ort BUNDLE [GRAPH]\n";
    return 2;
  }
  try {
    return run(words[1], count == 3 ? words[2] : "model.onnx");
  } catch (const std::exception& error) {
    std::cerr << "error: " << error.what() << "\n";
    return 1;
  }
}
