// Runs the CUDA kernels of grid_sample on cases from standard input and writes their gradients to
// standard output: with g++ on the CPU, where cuda_emulation.h stands in for CUDA, and with nvcc
// (-x cu) on a GPU, without PyTorch.
//
// A case is 15 int64: B, C, H, W, h, w, mode, padding, align_corners, element, layout, needs (bit
// 0: input, bit 1: grid, bit 2: deterministic), seed, rows above, columns before; then grad, input
// and grid as they are in memory.
//
// The output is dinput and dgrid, where needed, in float32; and three counts, which are 0 on a GPU:
// additions to global memory, additions to shared memory, and sectors that the first touched. Each
// array is an allocation of its own, of the exact size, so that a sanitizer sees a step beyond it.
//
// With `rows above` and `columns before` the input is the south-east corner of one that is so much
// larger, and 0 elsewhere; the output is that corner of dinput. Only the touched pages of such an
// input exist, so it may have more than 2^32 elements. Of the kernel that converts fixed point to
// floats only the blocks that meet the corner run. Not on a GPU.
#include <sys/mman.h>

#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <set>
#include <tuple>
#include <vector>

#ifndef __CUDACC__
#include "cuda_emulation.h"
#endif

#include "../../csrc/grid_sample/cuda/backward.cu"
#include "../../csrc/grid_sample/cuda/backward_nchw.cu"
#include "../../csrc/grid_sample/cuda/backward_nhwc.cu"

namespace {

void read_row(char* to, int64_t bytes) {
  if (bytes > 0 && std::fread(to, 1, bytes, stdin) != static_cast<size_t>(bytes)) std::exit(3);
}

void write_row(const char* from, int64_t bytes) { std::fwrite(from, 1, bytes, stdout); }

void fill_with_nan(char* row, int64_t bytes) { std::fill_n(row, bytes, '\xff'); }

// A zeroed array of which a case has the south-east corner.
class CornerArray {
 public:
  // Planes of H x W pixels, each of `unit` bytes, in planes that are larger by `above` and
  // `before`.
  CornerArray(int64_t planes, int64_t H, int64_t W, int64_t unit, int64_t above = 0,
              int64_t before = 0)
      : bytes(planes * (H + above) * (W + before) * unit),
        planes(planes),
        H(H),
        W(W),
        unit(unit),
        above(above),
        before(before) {
    if (bytes == 0) return;
    if (above == 0 && before == 0) {
      start = static_cast<char*>(::operator new(bytes, alignment));
      std::fill_n(start, bytes, 0);
    } else {
      const int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
      start = static_cast<char*>(mmap(nullptr, bytes, PROT_READ | PROT_WRITE, flags, -1, 0));
      if (start == MAP_FAILED) std::exit(4);
    }
  }
  CornerArray(const CornerArray&) = delete;
  ~CornerArray() {
    if (start != nullptr && above == 0 && before == 0)
      ::operator delete(start, alignment);
    else if (start != nullptr)
      munmap(start, bytes);
  }

  // Call work(row, bytes) for each row of the corner.
  template <typename F>
  void for_rows(const F& work) const {
    if (bytes == 0) return;
    for (int64_t plane = 0; plane < planes; ++plane)
      for (int64_t y = 0; y < H; ++y) {
        const int64_t row = plane * (H + above) + above + y;
        work(start + (row * (W + before) + before) * unit, W * unit);
      }
  }

  char* start = nullptr;
  const int64_t bytes;

 private:
  static constexpr std::align_val_t alignment{256};  // that of GPU memory
  const int64_t planes, H, W, unit, above, before;
};

// What the kernels see of an array: the array itself, or its copy on a GPU.
class DeviceArray {
 public:
  DeviceArray(const CornerArray& array, bool initialised = true)
      : host(array.bytes > 0 ? array.start : nullptr), bytes(array.bytes) {
    device = host;
#ifdef __CUDACC__
    if (host == nullptr) return;
    require(cudaMalloc(&device, bytes));
    if (initialised) require(cudaMemcpy(device, host, bytes, cudaMemcpyHostToDevice));
#endif
  }
#ifdef __CUDACC__
  ~DeviceArray() { cudaFree(device); }
#endif
  DeviceArray(const DeviceArray&) = delete;

  void copy_to_host() const {
#ifdef __CUDACC__
    if (host != nullptr) require(cudaMemcpy(host, device, bytes, cudaMemcpyDeviceToHost));
#endif
  }

  template <typename T>
  T* as() const {
    return reinterpret_cast<T*>(device);
  }

#ifdef __CUDACC__
  static void require(cudaError_t error) {
    if (error == cudaSuccess) return;
    std::fprintf(stderr, "CUDA: %s\n", cudaGetErrorString(error));
    std::exit(5);
  }
#endif

 private:
  char* const host;
  char* device;
  const int64_t bytes;
};

#ifndef __CUDACC__
// Of the kernel that converts fixed point to floats run only the blocks that write to the corner.
void restrict_conversion_to(const CornerArray& dinput) {
  std::set<unsigned> blocks;
  dinput.for_rows([&](const char* row, int64_t bytes) {
    const int64_t first = (row - dinput.start) / sizeof(float);
    const int64_t last = first + bytes / sizeof(float) - 1;
    for (int64_t i = first / lift::values_per_block; i <= last / lift::values_per_block; ++i)
      blocks.insert(i);
  });
  emulation::choose_blocks = [blocks](const char* kernel, unsigned count) {
    return std::strstr(kernel, "fixed_to_float")
               ? std::vector<unsigned>(blocks.begin(), blocks.end())
               : emulation::all_blocks(count);
  };
}
#endif

}  // namespace

int main() {
  int64_t n[15];
  while (std::fread(n, sizeof n, 1, stdin) == 1) {
    lift::GridSampleBackwardParams p{};
    p.B = n[0];
    p.C = n[1];
    const int64_t H = n[2], W = n[3], above = n[13], before = n[14];
    p.H = H + above;
    p.W = W + before;
    p.h = n[4];
    p.w = n[5];
    p.mode = static_cast<int32_t>(n[6]);
    p.padding = static_cast<int32_t>(n[7]);
    p.align_corners = static_cast<int32_t>(n[8]);
    p.element = static_cast<lift::Element>(n[9]);
    p.layout = static_cast<lift::Layout>(n[10]);
    const bool needs_input = n[11] & 1, needs_grid = n[11] & 2, fixed = n[11] & 4;

    const int64_t element = p.element == lift::Element::float32 ? 4 : 2;
    const bool nhwc = p.layout == lift::Layout::nhwc;
    const int64_t planes = nhwc ? p.B : p.B * p.C, values = nhwc ? p.C : 1;
    const CornerArray grad(p.B * p.C, p.h, p.w, element);
    const CornerArray input(planes, H, W, values * element, above, before);
    const CornerArray grid(p.B, p.h, p.w, 2 * sizeof(float));
    for (const CornerArray* array : {&grad, &input, &grid}) array->for_rows(read_row);

    // With `fixed` dinput is written in the input's type; else sums in float32 are added to zeros.
    const int64_t written = fixed ? element : static_cast<int64_t>(sizeof(float));
    const int64_t sum = values * static_cast<int64_t>(sizeof(long long));
    const CornerArray dinput(needs_input ? planes : 0, H, W, values * written, above, before);
    const CornerArray dgrid(needs_grid ? p.B : 0, p.h, p.w, 2 * sizeof(float));
    const CornerArray fixed_sums(needs_input && fixed ? planes : 0, H, W, sum, above, before);
    const CornerArray grad_absmax(fixed ? 1 : 0, 1, 1, sizeof(uint32_t));
    if (fixed) dinput.for_rows(fill_with_nan);
    dgrid.for_rows(fill_with_nan);

    const DeviceArray device_grad(grad), device_input(input), device_grid(grid);
    const DeviceArray device_dinput(dinput, !fixed), device_dgrid(dgrid, false);
    const DeviceArray device_fixed_sums(fixed_sums), device_grad_absmax(grad_absmax);
    // inputs
    p.grad = device_grad.as<void>();
    p.input = needs_grid ? device_input.as<void>() : nullptr;
    p.grid = device_grid.as<float>();
    // gradients
    p.dinput = device_dinput.as<void>();
    p.dgrid = device_dgrid.as<float>();
    // for a deterministic dinput
    p.fixed_sums = device_fixed_sums.as<long long>();
    p.grad_absmax = device_grad_absmax.as<uint32_t>();

    float counts[3] = {};
#ifndef __CUDACC__
    emulation::additions = emulation::shared_additions = emulation::sectors = 0;
    emulation::order.seed(static_cast<unsigned>(n[12]));
    emulation::choose_blocks = nullptr;
    if (above > 0 || before > 0) restrict_conversion_to(dinput);
#endif
    if (const char* const error = lift::launch_grid_sample_backward(p, nullptr)) {
      std::fprintf(stderr, "the kernels were not launched: %s\n", error);
      return 5;
    }
#ifdef __CUDACC__
    DeviceArray::require(cudaDeviceSynchronize());
#else
    counts[0] = static_cast<float>(emulation::additions);
    counts[1] = static_cast<float>(emulation::shared_additions);
    counts[2] = static_cast<float>(emulation::sectors);
#endif
    device_dinput.copy_to_host();
    device_dgrid.copy_to_host();
    for (const CornerArray* array : {&dinput, &dgrid}) array->for_rows(write_row);
    std::fwrite(counts, sizeof(float), 3, stdout);
  }
  return 0;
}
