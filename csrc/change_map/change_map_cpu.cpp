// How much two images differ relative to their contrast, at half resolution, in one pass.
//
// kernels/ops/change_map/reference.py defines it. Each extreme is one over the 2 x 2 block of a
// pixel and the eight blocks around it: first over six rows, then over pairs of columns, then over
// three pairs. A row of the result is computed at a time, so each image is read from memory once.
#include "change_map_cpu.h"

#include <torch/headeronly/util/Exception.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "../common/parallel.h"
#include "../common/strip.h"

namespace lift {
namespace {

// As in reference.py.
constexpr double noise_contrast = 0.05, min_difference = 1e-3;
constexpr int colours = 3;

template <typename A>
struct Arguments {
  int64_t B, H, W;
  StridedMap<A> image[2];  // (B, 3, H, W)
  A* out;                  // (B, 1, H/2, W/2), contiguous
};

struct Larger {
  template <typename A>
  LIFT_HD A operator()(A a, A b) const {
    return a > b || a != a ? a : b;  // keeps what is not a number
  }
};

struct Smaller {
  template <typename A>
  LIFT_HD A operator()(A a, A b) const {
    return a < b || a != a ? a : b;
  }
};

// Not inlined, as the next ones: GCC vectorises each loop alone.
template <typename Pick, typename A>
__attribute__((noinline)) void pick_rows(const A* __restrict from, int64_t n, A* __restrict to) {
  LIFT_SIMD
  for (int64_t x = 0; x < n; ++x) to[x] = Pick()(from[x], to[x]);
}

// The extreme of each pair of the n columns and of the pairs beside it; `pairs` is scratch memory.
template <typename Pick, typename A>
__attribute__((noinline)) void pick_columns(const A* __restrict from, int64_t n,
                                            A* __restrict pairs, A* __restrict to) {
  const int64_t half = n / 2;
  LIFT_SIMD
  for (int64_t x = 0; x < half; ++x) pairs[x + 1] = Pick()(from[2 * x], from[2 * x + 1]);
  pairs[0] = pairs[1];
  pairs[half + 1] = pairs[half];
  LIFT_SIMD
  for (int64_t x = 0; x < half; ++x)
    to[x] = Pick()(Pick()(pairs[x], pairs[x + 1]), pairs[x + 2]);
}

template <typename A>
__attribute__((noinline)) void largest_difference(const A* __restrict a, const A* __restrict b,
                                                  int64_t n, A* __restrict to) {
  LIFT_SIMD
  for (int64_t x = 0; x < n; ++x) {
    const A difference = a[x] - b[x];
    to[x] = Larger()(difference < A(0) ? -difference : difference, to[x]);
  }
}

template <typename A>
__attribute__((noinline)) void largest_range(const A* __restrict most, const A* __restrict least,
                                             int64_t n, A* __restrict to) {
  LIFT_SIMD
  for (int64_t x = 0; x < n; ++x) to[x] = Larger()(most[x] - least[x], to[x]);
}

template <typename A>
void compute_row(const Arguments<A>& p, int64_t b, int64_t y) {
  const int64_t W = p.W, half = W / 2;
  const int64_t first = std::max<int64_t>(2 * y - 2, 0), last = std::min(2 * y + 4, p.H);
  std::vector<A> memory(9 * W + 2);
  A *const copy0 = memory.data(), *const copy1 = copy0 + W, *const most = copy1 + W,
          *const least = most + W, *const difference = least + W, *const pairs = difference + W;
  A *const high = pairs + W + 2, *const low = high + half, *const change = low + half,
          *const contrast0 = change + half, *const contrast1 = contrast0 + half;
  const auto row = [&](int i, int c, int64_t at, A* copy) {
    const StridedMap<A>& map = p.image[i];
    const A* const from = map.data + b * map.stride_b + c * map.stride_c + at * map.stride_y;
    if (map.stride_x == 1) return from;
    for (int64_t x = 0; x < W; ++x) copy[x] = from[x * map.stride_x];
    return static_cast<const A*>(copy);
  };
  A* const contrasts[] = {contrast0, contrast1};
  for (int i = 0; i < 2; ++i) {
    std::fill(contrasts[i], contrasts[i] + half, A(0));
    for (int c = 0; c < colours; ++c) {
      const A* const start = row(i, c, first, copy0);
      std::copy(start, start + W, most);
      std::copy(start, start + W, least);
      for (int64_t at = first + 1; at < last; ++at) {
        const A* const from = row(i, c, at, copy0);
        pick_rows<Larger>(from, W, most);
        pick_rows<Smaller>(from, W, least);
      }
      pick_columns<Larger>(most, W, pairs, high);
      pick_columns<Smaller>(least, W, pairs, low);
      largest_range(high, low, half, contrasts[i]);
    }
  }
  std::fill(difference, difference + W, A(0));
  for (int64_t at = first; at < last; ++at)
    for (int c = 0; c < colours; ++c)
      largest_difference(row(0, c, at, copy0), row(1, c, at, copy1), W, difference);
  pick_columns<Larger>(difference, W, pairs, change);
  A* const out = p.out + (b * (p.H / 2) + y) * half;
  for (int64_t x = 0; x < half; ++x) {
    const A contrast = (contrast0[x] + contrast1[x]) / 2;
    out[x] = std::log(Larger()(change[x], A(min_difference)) / (contrast + A(noise_contrast)));
  }
}

}  // namespace

Tensor change_map_cpu(const Tensor& image0, const Tensor& image1) {
  STD_TORCH_CHECK(image0.dim() == 4, "image0 must be (B, 3, H, W)");
  const ScalarType dtype = image0.scalar_type();
  STD_TORCH_CHECK(dtype == accumulate_dtype(dtype), "images must be float32 or float64");
  const int64_t B = image0.size(0), H = image0.size(2), W = image0.size(3);
  STD_TORCH_CHECK(H % 2 == 0 && W % 2 == 0, "the sides of image0 must be even");
  check_tensor("image0", image0, {B, colours, H, W}, dtype);
  check_tensor("image1", image1, {B, colours, H, W}, dtype);
  Tensor out = empty({B, 1, H / 2, W / 2}, image0, dtype, MemoryFormat::Contiguous);
  if (out.numel() == 0) return out;
  dispatch_accumulate_type(dtype, [&](auto number) {
    using A = decltype(number);
    const Arguments<A> p{B,
                         H,
                         W,
                         {StridedMap<A>(image0), StridedMap<A>(image1)},
                         static_cast<A*>(out.mutable_data_ptr())};
    for_rows(B, H / 2, 12 * W, [&](int64_t b, int64_t y) { compute_row(p, b, y); });
  });
  return out;
}

}  // namespace lift
