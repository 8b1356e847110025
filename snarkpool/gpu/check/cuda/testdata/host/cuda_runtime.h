// What the checker needs of CUDA, on a CPU: every thread of a kernel runs after the other. For tests alone.
#pragma once
#include <cstddef>
#include <cstdlib>
#include <cstring>

#define __host__
#define __device__
#define __global__

struct dim3 {
  unsigned x, y, z;
  dim3(unsigned x = 1, unsigned y = 1, unsigned z = 1) : x(x), y(y), z(z) {}
};
static dim3 gridDim, blockDim, blockIdx, threadIdx;

typedef int cudaError_t;
enum { cudaSuccess = 0, cudaErrorMemoryAllocation = 2 };
enum cudaMemcpyKind { cudaMemcpyDeviceToHost = 2 };
static inline const char* cudaGetErrorString(cudaError_t) { return "out of memory"; }
static inline cudaError_t cudaGetLastError() { return cudaSuccess; }
static inline cudaError_t cudaDeviceSynchronize() { return cudaSuccess; }
static inline cudaError_t cudaMalloc(void** memory, size_t size) {
  *memory = std::malloc(size);
  return *memory ? cudaSuccess : cudaErrorMemoryAllocation;
}
static inline cudaError_t cudaFree(void* memory) {
  std::free(memory);
  return cudaSuccess;
}
static inline cudaError_t cudaMemcpy(void* to, const void* from, size_t size, cudaMemcpyKind) {
  std::memcpy(to, from, size);
  return cudaSuccess;
}

template <typename Kernel>
struct Launch {
  Kernel kernel;
  dim3 grid, block;
  template <typename... Arguments>
  void operator()(Arguments... arguments) {
    gridDim = grid;
    blockDim = block;
    for (blockIdx.y = 0; blockIdx.y < grid.y; blockIdx.y++)
      for (blockIdx.x = 0; blockIdx.x < grid.x; blockIdx.x++)
        for (threadIdx.x = 0; threadIdx.x < block.x; threadIdx.x++) kernel(arguments...);
  }
};
template <typename Kernel>
static Launch<Kernel> launch(Kernel kernel, dim3 grid, dim3 block) {
  return {kernel, grid, block};
}
