// Runs csrc/cuda/grid_sample_backward.cu on the CPU: reads cases from standard input, writes their gradients to standard output.
//
// A case is 15 int64: B, C, H, W, h, w, mode, padding, align_corners, element, order, needs (bit 0: input, bit 1: grid; bit 2:
// deterministic), seed, above, before; then grad, input and grid as they lie in memory. The answer is the asked for of dinput and dgrid,
// in float32, and then how many atomic additions there were. Each array is memory of its own, of the right size, so that AddressSanitizer sees a step beyond it.
//
// With `above` rows and `before` columns the input is the south-east corner of one that is so much larger, and 0 elsewhere; the answer is
// that corner of dinput. Of such an input only the pages that are touched exist, so it may well have more than 2^32 elements.
#include <sys/mman.h>

#include <tuple>

#include "cuda_emulation.h"

#include "../csrc/cuda/grid_sample_backward.cu"

namespace {

void take(char* to, int64_t bytes) {
  if (bytes > 0 && std::fread(to, 1, bytes, stdin) != static_cast<size_t>(bytes)) std::exit(3);
}

template <typename T>
std::vector<T> taken(int64_t n) {
  std::vector<T> values(n);
  take(reinterpret_cast<char*>(values.data()), n * sizeof(T));
  return values;
}

// An input or its gradient, with the corner that a case has of it.
class Corner {
 public:
  // Planes of H x W pixels, each of `unit` bytes.
  Corner(int64_t planes, int64_t H, int64_t W, int64_t unit, int64_t above, int64_t before)
      : planes(planes), H(H), W(W), unit(unit), above(above), before(before), bytes(planes * (H + above) * (W + before) * unit) {
    if (bytes == 0 || (above == 0 && before == 0)) {
      exact.resize(bytes);
      start = exact.data();
    } else {
      start = static_cast<char*>(mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0));
      if (start == MAP_FAILED) std::exit(4);
    }
  }
  ~Corner() {
    if (start != exact.data()) munmap(start, bytes);
  }

  // Calls `use` with each row of the corner and its length in bytes.
  template <typename F>
  void each_row(const F& use) const {
    for (int64_t plane = 0; plane < planes; ++plane)
      for (int64_t y = 0; y < H; ++y) use(start + ((plane * (H + above) + above + y) * (W + before) + before) * unit, W * unit);
  }

  char* start;

 private:
  int64_t planes, H, W, unit, above, before, bytes;
  std::vector<char> exact;
};

}  // namespace

int main() {
  int64_t n[15];
  while (std::fread(n, sizeof n, 1, stdin) == 1) {
    const auto [B, C, H, W, h, w] = std::tuple(n[0], n[1], n[2], n[3], n[4], n[5]);
    const int64_t size = n[9] == 0 ? 4 : 2, needs = n[11], above = n[13], before = n[14];
    const bool pixels = n[10] != 0, input_asked = needs & 1, grid_asked = needs & 2, fixed = needs & 4;
    const int64_t planes = pixels ? B : B * C, together = pixels ? C : 1;
    const std::vector<char> grad = taken<char>(B * C * h * w * size);
    const Corner input(planes, H, W, together * size, above, before);
    input.each_row(take);
    const std::vector<float> grid = taken<float>(B * h * w * 2);
    const Corner dinput(input_asked ? planes : 0, H, W, together * sizeof(float), above, before);
    if (fixed)  // unwritten, so not a number
      dinput.each_row([](char* row, int64_t bytes) { std::fill_n(reinterpret_cast<float*>(row), bytes / sizeof(float), NAN); });
    std::vector<float> dgrid(grid_asked ? B * h * w * 2 : 0, NAN);
    std::vector<long long> sums(input_asked && fixed ? B * C * H * W : 0);
    uint32_t largest = 0;
    emulation::atomics = 0;
    emulation::order.seed(static_cast<unsigned>(n[12]));
    const lift::GridSampleBackward p{
        B, C, H + above, W + before, h, w, static_cast<int32_t>(n[6]), static_cast<int32_t>(n[7]), static_cast<int32_t>(n[8]),
        static_cast<lift::Element>(n[9]), static_cast<lift::Order>(n[10]), grad.data(), grid_asked ? input.start : nullptr, grid.data(),
        input_asked ? reinterpret_cast<float*>(dinput.start) : nullptr, grid_asked ? dgrid.data() : nullptr,
        input_asked && fixed ? sums.data() : nullptr, fixed ? &largest : nullptr};
    lift::grid_sample_backward(p, nullptr);
    dinput.each_row([](const char* row, int64_t bytes) { std::fwrite(row, 1, bytes, stdout); });
    if (grid_asked) std::fwrite(dgrid.data(), sizeof(float), dgrid.size(), stdout);
    const float atomics = static_cast<float>(emulation::atomics);
    std::fwrite(&atomics, sizeof atomics, 1, stdout);
  }
  return 0;
}
