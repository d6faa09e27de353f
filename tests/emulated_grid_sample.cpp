// Runs csrc/cuda/grid_sample_backward.cu on the CPU: reads cases from standard input, writes their gradients to standard output.
//
// A case is 13 int64: B, C, H, W, h, w, mode, padding, align_corners, element, order, needs (bit 0: input, bit 1: grid; bit 2:
// deterministic), seed; then grad, input and grid as they lie in memory. The answer is the asked for of dinput and dgrid, in float32.
// Each array is memory of its own, of the right size, so that AddressSanitizer sees a step beyond it.
#include <tuple>

#include "cuda_emulation.h"

#include "../csrc/cuda/grid_sample_backward.cu"

namespace {

template <typename T>
std::vector<T> taken(int64_t n) {
  std::vector<T> values(n);
  if (n > 0 && std::fread(values.data(), sizeof(T), n, stdin) != static_cast<size_t>(n)) std::exit(3);
  return values;
}

}  // namespace

int main() {
  int64_t n[13];
  while (std::fread(n, sizeof n, 1, stdin) == 1) {
    const auto [B, C, H, W, h, w] = std::tuple(n[0], n[1], n[2], n[3], n[4], n[5]);
    const int64_t size = n[9] == 0 ? 4 : 2, needs = n[11];
    const std::vector<char> grad = taken<char>(B * C * h * w * size), input = taken<char>(B * C * H * W * size);
    const std::vector<float> grid = taken<float>(B * h * w * 2);
    const bool input_asked = needs & 1, grid_asked = needs & 2, fixed = needs & 4;
    std::vector<float> dinput(input_asked ? B * C * H * W : 0, fixed ? NAN : 0.0f), dgrid(grid_asked ? B * h * w * 2 : 0, NAN);
    std::vector<long long> sums(input_asked && fixed ? B * C * H * W : 0);
    uint32_t largest = 0;
    emulation::order.seed(static_cast<unsigned>(n[12]));
    const lift::GridSampleBackward p{
        B, C, H, W, h, w, static_cast<int32_t>(n[6]), static_cast<int32_t>(n[7]), static_cast<int32_t>(n[8]),
        static_cast<lift::Element>(n[9]), static_cast<lift::Order>(n[10]), grad.data(), grid_asked ? input.data() : nullptr, grid.data(),
        input_asked ? dinput.data() : nullptr, grid_asked ? dgrid.data() : nullptr, input_asked && fixed ? sums.data() : nullptr, &largest};
    lift::grid_sample_backward(p, nullptr);
    for (const std::vector<float>& asked : {dinput, dgrid})
      if (!asked.empty()) std::fwrite(asked.data(), sizeof(float), asked.size(), stdout);
  }
  return 0;
}
