// How much two images differ relative to their contrast, at half resolution, in one pass.
//
// kernels/ops/change_map/reference.py defines it. Each extreme is one over the 2 x 2 block of a
// pixel and the eight blocks around it. Each thread takes its rows of blocks in order and keeps the
// extremes of three, over three neighbouring blocks each, so an image is read once.
#include "change_map_cpu.h"

#include <torch/headeronly/util/Exception.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <type_traits>
#include <vector>

#include "../common/parallel.h"
#include "../common/strip.h"

namespace lift {
namespace {

// As in reference.py.
constexpr double noise_contrast = 0.05, min_difference = 1e-3;
constexpr int colours = 3, taps = 3;

// -- arithmetic -----------------------------------------------------------------------------------

struct Larger {
  template <typename A>
  LIFT_HD A operator()(A a, A b) const {
    return a > b ? a : b;
  }
};

struct Smaller {
  template <typename A>
  LIFT_HD A operator()(A a, A b) const {
    return a < b ? a : b;
  }
};

// Of two magnitudes. Their bits are in the order of their values, and above them what is not a
// number, which stays. Differences alone need it: an image's NaN is one of its difference too.
struct LargerMagnitude {
  template <typename A>
  LIFT_HD A operator()(A a, A b) const {
    std::conditional_t<sizeof(A) == 8, int64_t, int32_t> bits_a, bits_b;
    std::memcpy(&bits_a, &a, sizeof a);
    std::memcpy(&bits_b, &b, sizeof b);
    bits_a = bits_a > bits_b ? bits_a : bits_b;
    std::memcpy(&a, &bits_a, sizeof a);
    return a;
  }
};

// log(x) for normal x > 0, with an error below 2e-7 of the result or of 1; NaN stays NaN.
// Plain arithmetic, so that a loop over pixels vectorises. (The series is that of Cephes' logf.)
LIFT_HD float log_positive(float x) {
  int32_t bits;
  std::memcpy(&bits, &x, sizeof bits);
  const int32_t root_half = 0x3f3504f3;  // of sqrt(1/2): the fraction is in [sqrt(1/2), sqrt(2))
  const int32_t exponent = (bits - root_half) >> 23;
  bits -= exponent << 23;
  float r;
  std::memcpy(&r, &bits, sizeof r);
  r -= 1.0f;
  float series = 7.0376836292e-2f;
  series = series * r - 1.1514610310e-1f;
  series = series * r + 1.1676998740e-1f;
  series = series * r - 1.2420140846e-1f;
  series = series * r + 1.4249322787e-1f;
  series = series * r - 1.6668057665e-1f;
  series = series * r + 2.0000714765e-1f;
  series = series * r - 2.4999993993e-1f;
  series = series * r + 3.3333331174e-1f;
  const float square = r * r, power = static_cast<float>(exponent);
  // ln 2 in two parts, of which the first has exact products.
  const float rest = series * r * square + (power * -2.12194440e-4f - 0.5f * square);
  const float log = power * 0.693359375f + (r + rest);
  return x - x == 0.0f ? log : x;  // also infinity
}

LIFT_HD double log_positive(double x) { return std::log(x); }

// -- rows; not inlined, since GCC vectorises each loop alone --------------------------------------

template <typename A>
__attribute__((noinline)) void extremes_of_rows(const A* __restrict a, const A* __restrict b,
                                                int64_t W, A* __restrict most,
                                                A* __restrict least) {
  LIFT_SIMD
  for (int64_t x = 0; x < W; ++x) {
    most[x] = Larger()(a[x], b[x]);
    least[x] = Smaller()(a[x], b[x]);
  }
}

template <bool first, typename A>
__attribute__((noinline)) void difference_of_rows(const A* __restrict a0, const A* __restrict a1,
                                                  const A* __restrict b0, const A* __restrict b1,
                                                  int64_t W, A* __restrict to) {
  LIFT_SIMD
  for (int64_t x = 0; x < W; ++x) {
    const A most = LargerMagnitude()(std::abs(a0[x] - b0[x]), std::abs(a1[x] - b1[x]));
    to[x] = first ? most : LargerMagnitude()(most, to[x]);
  }
}

template <typename Pick, typename A>
__attribute__((noinline)) void pick_pairs(const A* __restrict from, int64_t half,
                                          A* __restrict to) {
  LIFT_SIMD
  for (int64_t x = 0; x < half; ++x) to[x] = Pick()(from[2 * x], from[2 * x + 1]);
}

template <typename Pick, typename A>
__attribute__((noinline)) void pick_around(const A* __restrict from, int64_t half,
                                           A* __restrict to) {
  LIFT_SIMD
  for (int64_t x = 0; x < half; ++x) to[x] = Pick()(Pick()(from[x - 1], from[x]), from[x + 1]);
}

// The contrast of a channel where it is the largest so far.
template <bool first, typename A>
__attribute__((noinline)) void largest_range(const A* const (&most)[taps],
                                             const A* const (&least)[taps], int64_t half,
                                             A* __restrict to) {
  const A *const m0 = most[0], *const m1 = most[1], *const m2 = most[2];
  const A *const l0 = least[0], *const l1 = least[1], *const l2 = least[2];
  LIFT_SIMD
  for (int64_t x = 0; x < half; ++x) {
    const A range =
        Larger()(Larger()(m0[x], m1[x]), m2[x]) - Smaller()(Smaller()(l0[x], l1[x]), l2[x]);
    to[x] = first ? range : Larger()(range, to[x]);
  }
}

template <typename A>
__attribute__((noinline)) void log_ratio(const A* const (&difference)[taps],
                                         const A* __restrict contrast0,
                                         const A* __restrict contrast1, int64_t half,
                                         A* __restrict to) {
  const A *const d0 = difference[0], *const d1 = difference[1], *const d2 = difference[2];
  LIFT_SIMD
  for (int64_t x = 0; x < half; ++x) {
    const A most = LargerMagnitude()(LargerMagnitude()(d0[x], d1[x]), d2[x]);
    const A contrast = (contrast0[x] + contrast1[x]) * A(0.5) + A(noise_contrast);
    to[x] = log_positive(LargerMagnitude()(most, A(min_difference)) / contrast);
  }
}

// -- the result -----------------------------------------------------------------------------------

template <typename A>
struct Arguments {
  int64_t B, H, W;
  StridedMap<A> image[2];  // (B, 3, H, W)
  A* out;                  // (B, 1, H/2, W/2), contiguous

  // A row of a channel: where it is if its values are adjacent, else in `copy`.
  const A* row(int i, int64_t b, int c, int64_t y, A* copy) const {
    const StridedMap<A>& map = image[i];
    const A* const from = map.data + b * map.stride_b + c * map.stride_c + y * map.stride_y;
    if (map.stride_x == 1) return from;
    for (int64_t x = 0; x < W; ++x) copy[x] = from[x * map.stride_x];
    return copy;
  }
};

// Row buffers of one thread.
template <typename A>
struct Rows {
  const int64_t W, half;
  std::vector<A> full, quarter;

  explicit Rows(int64_t W)
      : W(W), half(W / 2), full(7 * W), quarter(half + 2 + (taps * (4 * colours + 1) + 2) * half) {}

  A* copy(int i) { return full.data() + i * W; }
  A* most() { return copy(4); }
  A* least() { return copy(5); }
  A* difference() { return copy(6); }
  // The pairs of a row; one more lies on both sides.
  A* pairs() { return quarter.data() + 1; }
  A* contrast(int i) { return quarter.data() + half + 2 + i * half; }
  // Extremes of a row of blocks over three neighbours: the most and the least of each channel of
  // both images, and last the difference.
  A* extreme(int64_t block, int i) {
    return contrast(2) + (block % taps * (4 * colours + 1) + i) * half;
  }
};

template <typename Pick, typename A>
void pick_columns(const A* from, Rows<A>& rows, A* to) {
  A* const pairs = rows.pairs();
  pick_pairs<Pick>(from, rows.half, pairs);
  pairs[-1] = pairs[0];
  pairs[rows.half] = pairs[rows.half - 1];
  pick_around<Pick>(pairs, rows.half, to);
}

// Extremes of a row of blocks.
template <typename A>
void reduce_blocks(const Arguments<A>& p, int64_t b, int64_t block, Rows<A>& rows) {
  for (int c = 0; c < colours; ++c) {
    const A* row[2][2];
    for (int i = 0; i < 2; ++i) {
      for (int k = 0; k < 2; ++k) row[i][k] = p.row(i, b, c, 2 * block + k, rows.copy(2 * i + k));
      extremes_of_rows(row[i][0], row[i][1], p.W, rows.most(), rows.least());
      const int channel = 2 * (i * colours + c);
      pick_columns<Larger>(rows.most(), rows, rows.extreme(block, channel));
      pick_columns<Smaller>(rows.least(), rows, rows.extreme(block, channel + 1));
    }
    const auto add = c == 0 ? difference_of_rows<true, A> : difference_of_rows<false, A>;
    add(row[0][0], row[0][1], row[1][0], row[1][1], p.W, rows.difference());
  }
  pick_columns<LargerMagnitude>(rows.difference(), rows, rows.extreme(block, 4 * colours));
}

// Row y of the result. The rows of blocks around it are reduced.
template <typename A>
void compute_row(const Arguments<A>& p, int64_t b, int64_t y, Rows<A>& rows) {
  const auto around = [&](int i, const A* (&of)[taps]) {
    for (int k = 0; k < taps; ++k)
      of[k] = rows.extreme(std::clamp<int64_t>(y + k - 1, 0, p.H / 2 - 1), i);
  };
  for (int i = 0; i < 2; ++i)
    for (int c = 0; c < colours; ++c) {
      const A *most[taps], *least[taps];
      around(2 * (i * colours + c), most);
      around(2 * (i * colours + c) + 1, least);
      const auto keep = c == 0 ? largest_range<true, A> : largest_range<false, A>;
      keep(most, least, rows.half, rows.contrast(i));
    }
  const A* difference[taps];
  around(4 * colours, difference);
  log_ratio(difference, rows.contrast(0), rows.contrast(1), rows.half,
            p.out + (b * (p.H / 2) + y) * rows.half);
}

template <typename A>
void change_map(const Arguments<A>& p) {
  const int64_t values = 2 * colours * p.B * p.H * p.W;
  for_row_blocks(row_blocks(p.B, p.H / 2, values), values, [&](int64_t, const RowBlock& block) {
    Rows<A> rows(p.W);
    int64_t reduced = std::max<int64_t>(block.begin - 1, 0);
    for (int64_t y = block.begin; y < block.end; ++y) {
      for (; reduced <= std::min(y + 1, p.H / 2 - 1); ++reduced)
        reduce_blocks(p, block.b, reduced, rows);
      compute_row(p, block.b, y, rows);
    }
  });
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
    change_map<A>({B,
                   H,
                   W,
                   {StridedMap<A>(image0), StridedMap<A>(image1)},
                   static_cast<A*>(out.mutable_data_ptr())});
  });
  return out;
}

}  // namespace lift
