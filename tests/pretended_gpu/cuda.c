// A CUDA driver with one device whose memory is the host's: what the package calls of libcuda, and nothing that computes.
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

typedef uint64_t Address;
typedef void *Handle;

static int give(Handle *place, uintptr_t value) { *place = (Handle)value; return 0; }
static int copy(void *to, const void *from, size_t size) { memcpy(to, from, size); return 0; }

int cuInit(unsigned flags) { (void)flags; return 0; }
int cuDriverGetVersion(int *found) { *found = 13000; return 0; }
int cuDeviceGetCount(int *found) { *found = 1; return 0; }
int cuDeviceGet(int *found, int index) { *found = index; return 0; }
int cuDeviceGetName(char *name, int size, int device) { (void)device; strncpy(name, "Pretended GPU", size); return 0; }
int cuDeviceGetAttribute(int *found, int which, int device) { (void)device; *found = which == 75 ? 9 : 0; return 0; }
int cuDevicePrimaryCtxRetain(Handle *found, int device) { (void)device; return give(found, 1); }
int cuDevicePrimaryCtxRelease_v2(int device) { (void)device; return 0; }
int cuCtxSetCurrent(Handle context) { (void)context; return 0; }
int cuStreamCreate(Handle *found, unsigned flags) { (void)flags; return give(found, 2); }
int cuStreamDestroy_v2(Handle stream) { (void)stream; return 0; }
int cuStreamSynchronize(Handle stream) { (void)stream; return 0; }
int cuEventCreate(Handle *found, unsigned flags) { (void)flags; return give(found, 3); }
int cuEventDestroy_v2(Handle event) { (void)event; return 0; }
int cuEventRecord(Handle event, Handle stream) { (void)event; (void)stream; return 0; }
int cuEventElapsedTime(float *found, Handle from, Handle to) {
  const char *said = getenv("PRETENDED_MS");  // of the plan that this process has loaded
  (void)from;
  (void)to;
  *found = said ? (float)atof(said) : 0.25f;
  return 0;
}
int cuStreamBeginCapture_v2(Handle stream, int mode) { (void)stream; (void)mode; return 0; }
int cuStreamEndCapture(Handle stream, Handle *found) { (void)stream; return give(found, 4); }
int cuGraphInstantiateWithFlags(Handle *found, Handle graph, uint64_t flags) {
  (void)graph;
  (void)flags;
  return give(found, 5);
}
int cuGraphLaunch(Handle graph, Handle stream) { (void)graph; (void)stream; return 0; }
int cuGraphDestroy(Handle graph) { (void)graph; return 0; }
int cuGraphExecDestroy(Handle graph) { (void)graph; return 0; }
int cuMemAlloc_v2(Address *found, size_t size) { *found = (Address)malloc(size); return 0; }
int cuMemFree_v2(Address address) { free((void *)address); return 0; }
int cuMemHostAlloc(Handle *found, size_t size, unsigned flags) { (void)flags; *found = malloc(size); return 0; }
int cuMemFreeHost(Handle address) { free(address); return 0; }
int cuMemcpyHtoD_v2(Address to, const void *from, size_t size) { return copy((void *)to, from, size); }
int cuMemcpyDtoH_v2(void *to, Address from, size_t size) { return copy(to, (void *)from, size); }
int cuMemcpyHtoDAsync_v2(Address to, const void *from, size_t size, Handle stream) {
  (void)stream;
  return copy((void *)to, from, size);
}
int cuMemcpyDtoHAsync_v2(void *to, Address from, size_t size, Handle stream) {
  (void)stream;
  return copy(to, (void *)from, size);
}
int cuMemcpyDtoDAsync_v2(Address to, Address from, size_t size, Handle stream) {
  (void)stream;
  return copy((void *)to, (void *)from, size);
}
int cuGetErrorString(int code, const char **found) { (void)code; *found = "unknown"; return 0; }
