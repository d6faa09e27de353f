// Runs the kernels of csrc/cuda on cases from standard input and writes their gradients to standard output: with g++ on the CPU, where
// cuda_emulation.h stands in for CUDA, and with nvcc (-x cu) on a GPU, without PyTorch.
//
// A case is 15 int64: B, C, H, W, h, w, mode, padding, align_corners, element, order, needs (bit 0: input, bit 1: grid; bit 2:
// deterministic), seed, above, before; then grad, input and grid as they lie in memory. The answer is the requested of dinput and dgrid,
// in float32, and three counts, 0 on a GPU: additions to global memory, to shared memory, and sectors that the first touched. Each array
// is memory of its own, of the right size, so that a sanitizer sees a step beyond it.
//
// With `above` rows and `before` columns the input is the south-east corner of one that is so much larger, and 0 elsewhere; the answer is
// that corner of dinput. Of such an input only the pages that are touched exist, so it may well have more than 2^32 elements; of the
// kernel that turns fixed point into floats only the blocks that meet the corner run. Not on a GPU.
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

#include "../csrc/cuda/grid_sample_backward.cu"
#include "../csrc/cuda/grid_sample_pixels.cu"
#include "../csrc/cuda/grid_sample_planes.cu"

namespace {

void take(char* to, int64_t bytes) {
  if (bytes > 0 && std::fread(to, 1, bytes, stdin) != static_cast<size_t>(bytes)) std::exit(3);
}

// An array of the size of an input, with the corner that a case has of it.
class Corner {
 public:
  // Planes of H x W pixels, each of `unit` bytes.
  Corner(int64_t planes, int64_t H, int64_t W, int64_t unit, int64_t above = 0, int64_t before = 0)
      : bytes(planes * (H + above) * (W + before) * unit), planes(planes), H(H), W(W), unit(unit), above(above), before(before) {
    if (bytes == 0) return;
    if (above == 0 && before == 0) {
      start = static_cast<char*>(::operator new(bytes, alignment));
      std::fill_n(start, bytes, 0);
    } else {
      start = static_cast<char*>(mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0));
      if (start == MAP_FAILED) std::exit(4);
    }
  }
  Corner(const Corner&) = delete;
  ~Corner() {
    if (start != nullptr && above == 0 && before == 0)
      ::operator delete(start, alignment);
    else if (start != nullptr)
      munmap(start, bytes);
  }

  // Calls `use` with each row of the corner and its length in bytes.
  template <typename F>
  void each_row(const F& use) const {
    for (int64_t plane = 0; bytes > 0 && plane < planes; ++plane)
      for (int64_t y = 0; y < H; ++y) use(start + ((plane * (H + above) + above + y) * (W + before) + before) * unit, W * unit);
  }

  char* start = nullptr;
  const int64_t bytes;

 private:
  static constexpr std::align_val_t alignment{256};  // as memory of a GPU begins
  const int64_t planes, H, W, unit, above, before;
};

// What the kernels see of an array: itself, or its copy on a GPU.
class Seen {
 public:
  Seen(const Corner& array, bool written = true) : host(array.bytes > 0 ? array.start : nullptr), bytes(array.bytes) {
    at = host;
#ifdef __CUDACC__
    if (host == nullptr) return;
    require(cudaMalloc(&at, bytes));
    if (written) require(cudaMemcpy(at, host, bytes, cudaMemcpyHostToDevice));
#endif
  }
#ifdef __CUDACC__
  ~Seen() { cudaFree(at); }
#endif
  Seen(const Seen&) = delete;

  void fetch() const {
#ifdef __CUDACC__
    if (host != nullptr) require(cudaMemcpy(host, at, bytes, cudaMemcpyDeviceToHost));
#endif
  }

  template <typename T>
  T* as() const {
    return reinterpret_cast<T*>(at);
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
  char* at;
  const int64_t bytes;
};

#ifndef __CUDACC__
// Of the kernel that ends the deterministic path, run the blocks alone that write to the corner of a large dinput.
void run_at_the_corner_alone(const Corner& dinput) {
  std::set<unsigned> blocks;
  dinput.each_row([&](const char* row, int64_t bytes) {
    const int64_t size = sizeof(float), first = (row - dinput.start) / size, last = first + bytes / size - 1;
    for (int64_t block = first / lift::finished_numbers; block <= last / lift::finished_numbers; ++block) blocks.insert(block);
  });
  emulation::chosen = [blocks](const char* kernel, unsigned many) {
    return std::strstr(kernel, "finish") ? std::vector<unsigned>(blocks.begin(), blocks.end()) : emulation::all(many);
  };
}
#endif

}  // namespace

int main() {
  int64_t n[15];
  while (std::fread(n, sizeof n, 1, stdin) == 1) {
    const int64_t B = n[0], C = n[1], H = n[2], W = n[3], h = n[4], w = n[5];
    const int64_t size = n[9] == 0 ? 4 : 2, needs = n[11], above = n[13], before = n[14];
    const bool pixels = n[10] != 0, input_asked = needs & 1, grid_asked = needs & 2, fixed = needs & 4;
    const int64_t planes = pixels ? B : B * C, together = pixels ? C : 1;
    const Corner grad(B * C, h, w, size), input(planes, H, W, together * size, above, before), grid(B, h, w, 2 * sizeof(float));
    for (const Corner* array : {&grad, &input, &grid}) array->each_row(take);
    // With `fixed`, dinput is written in the input's own type; else sums, in float32, are added to zeros.
    const int64_t summed = fixed ? size : static_cast<int64_t>(sizeof(float));
    const Corner dinput(input_asked ? planes : 0, H, W, together * summed, above, before);
    const Corner dgrid(grid_asked ? B : 0, h, w, 2 * sizeof(float));
    const Corner sums(input_asked && fixed ? planes : 0, H, W, together * sizeof(long long), above, before);
    const Corner largest(fixed ? 1 : 0, 1, 1, sizeof(uint32_t));
    const auto unwritten = [](char* row, int64_t bytes) { std::fill_n(row, bytes, '\xff'); };  // not a number, of whatever type
    if (fixed) dinput.each_row(unwritten);
    dgrid.each_row(unwritten);
    const Seen grad_seen(grad), input_seen(input), grid_seen(grid), dinput_seen(dinput, !fixed), dgrid_seen(dgrid, false);
    const Seen sums_seen(sums), largest_seen(largest);
    float counts[3] = {};
#ifndef __CUDACC__
    emulation::additions = emulation::shared_additions = emulation::sectors = 0;
    emulation::order.seed(static_cast<unsigned>(n[12]));
    emulation::chosen = nullptr;
    if (above > 0 || before > 0) run_at_the_corner_alone(dinput);
#endif
    const lift::GridSampleBackward p{
        B, C, H + above, W + before, h, w, static_cast<int32_t>(n[6]), static_cast<int32_t>(n[7]), static_cast<int32_t>(n[8]),
        static_cast<lift::Element>(n[9]), static_cast<lift::Order>(n[10]), grad_seen.as<void>(),
        grid_asked ? input_seen.as<void>() : nullptr, grid_seen.as<float>(), dinput_seen.as<void>(), dgrid_seen.as<float>(),
        sums_seen.as<long long>(), largest_seen.as<uint32_t>()};
    if (const char* const failure = lift::grid_sample_backward(p, nullptr)) {
      std::fprintf(stderr, "the kernels were not launched: %s\n", failure);
      return 5;
    }
#ifdef __CUDACC__
    Seen::require(cudaDeviceSynchronize());
#else
    counts[0] = static_cast<float>(emulation::additions);
    counts[1] = static_cast<float>(emulation::shared_additions);
    counts[2] = static_cast<float>(emulation::sectors);
#endif
    dinput_seen.fetch();
    dgrid_seen.fetch();
    for (const Corner* array : {&dinput, &dgrid})
      array->each_row([](const char* row, int64_t bytes) { std::fwrite(row, 1, bytes, stdout); });
    std::fwrite(counts, sizeof(float), 3, stdout);
  }
  return 0;
}
