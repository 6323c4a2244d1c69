/* A CUDA driver without a GPU: device memory is the host's, kernels are none, and every event is 0.05 ms after the last. */
#include <stdlib.h>
#include <string.h>

typedef unsigned long long address;
static int context;

int cuInit(int flags) { return 0; }
int cuDriverGetVersion(int *version) { *version = 13000; return 0; }
int cuDeviceGetCount(int *count) { *count = 1; return 0; }
int cuDeviceGet(int *device, int index) { *device = index; return 0; }
int cuDeviceGetName(char *name, int size, int device) { strncpy(name, "Pretended GPU", size); return 0; }
int cuDeviceGetAttribute(int *value, int attribute, int device) { *value = attribute == 75 ? 9 : 0; return 0; }
int cuDevicePrimaryCtxRetain(void **found, int device) { *found = &context; return 0; }
int cuDevicePrimaryCtxRelease_v2(int device) { return 0; }
int cuCtxSetCurrent(void *found) { return 0; }
int cuStreamCreate(void **stream, int flags) { *stream = malloc(1); return 0; }
int cuStreamDestroy_v2(void *stream) { free(stream); return 0; }
int cuStreamSynchronize(void *stream) { return 0; }
int cuEventCreate(void **event, int flags) { *event = malloc(1); return 0; }
int cuEventDestroy_v2(void *event) { free(event); return 0; }
int cuEventRecord(void *event, void *stream) { return 0; }
int cuEventElapsedTime(float *ms, void *began, void *ended) { *ms = 0.05f; return 0; }
int cuMemAlloc_v2(address *found, size_t size) { *found = (address)malloc(size); return 0; }
int cuMemFree_v2(address found) { free((void *)found); return 0; }
int cuMemHostAlloc(void **found, size_t size, int flags) { *found = malloc(size); return 0; }
int cuMemFreeHost(void *found) { free(found); return 0; }
int cuMemcpyHtoDAsync_v2(address to, void *from, size_t size, void *stream) { memcpy((void *)to, from, size); return 0; }
int cuMemcpyDtoHAsync_v2(void *to, address from, size_t size, void *stream) { memcpy(to, (void *)from, size); return 0; }
int cuMemcpyDtoDAsync_v2(address to, address from, size_t size, void *stream) { return 0; }
int cuStreamBeginCapture_v2(void *stream, int mode) { return 0; }
int cuStreamEndCapture(void *stream, void **graph) { *graph = malloc(1); return 0; }
int cuGraphInstantiateWithFlags(void **ready, void *graph, address flags) { *ready = malloc(1); return 0; }
int cuGraphDestroy(void *graph) { free(graph); return 0; }
int cuGraphExecDestroy(void *ready) { free(ready); return 0; }
int cuGraphLaunch(void *ready, void *stream) { return 0; }
int cuGetErrorString(int code, const char **words) { *words = "an error"; return 0; }
