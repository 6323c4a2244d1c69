// As much of TensorRT's C++ interface as the program of a bundle uses, with the names and values of TensorRT 10.
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <cstdint>

#define NV_TENSORRT_MAJOR 10

namespace nvinfer1 {

enum class DataType : std::int32_t { kFLOAT, kHALF, kINT8, kINT32, kBOOL, kUINT8, kFP8, kBF16, kINT64 };
enum class OptProfileSelector : std::int32_t { kMIN, kOPT, kMAX };

struct Dims {
  std::int32_t nbDims;
  std::int64_t d[8];
};

class ILogger {
 public:
  enum class Severity : std::int32_t { kINTERNAL_ERROR, kERROR, kWARNING, kINFO, kVERBOSE };
  virtual void log(Severity severity, const char* message) noexcept = 0;
  virtual ~ILogger() = default;
};

class IExecutionContext {
 public:
  virtual ~IExecutionContext() = default;
  virtual bool setOptimizationProfileAsync(std::int32_t profile, cudaStream_t stream) noexcept = 0;
  virtual bool setInputShape(const char* name, const Dims& shape) noexcept = 0;
  virtual bool setTensorAddress(const char* name, void* address) noexcept = 0;
  virtual Dims getTensorShape(const char* name) const noexcept = 0;
  virtual bool enqueueV3(cudaStream_t stream) noexcept = 0;
};

class ICudaEngine {
 public:
  virtual ~ICudaEngine() = default;
  virtual std::int32_t getNbOptimizationProfiles() const noexcept = 0;
  virtual Dims getProfileShape(const char* name, std::int32_t profile, OptProfileSelector which) const noexcept = 0;
  virtual DataType getTensorDataType(const char* name) const noexcept = 0;
  virtual IExecutionContext* createExecutionContext() noexcept = 0;
};

class IRuntime {
 public:
  virtual ~IRuntime() = default;
  virtual void setEngineHostCodeAllowed(bool allowed) noexcept = 0;
  virtual ICudaEngine* deserializeCudaEngine(const void* plan, std::size_t size) noexcept = 0;
};

IRuntime* createInferRuntime(ILogger& logger) noexcept;

}  // namespace nvinfer1
