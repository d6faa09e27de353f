// What a model reads of a frame: padded, normalized, and small, in one pass.
//
// kernels/ops/frame_inputs/reference.py defines it. A thread takes eight rows at a time, which stay
// in the cache until all that depends on them is written.
#include "frame_inputs_cpu.h"

#include <torch/headeronly/util/Exception.h>

#include <algorithm>
#include <array>
#include <vector>

#include "../common/bfloat16.h"
#include "../common/parallel.h"
#include "../common/strip.h"

namespace lift {
namespace {

// As in reference.py.
constexpr double luma_weights[] = {0.299, 0.587, 0.114};
constexpr int colours = 3, rows = 8;  // rows: of a group, which are one of the smallest mean

template <typename T, typename A = Wide<T>>
struct Arguments {
  int64_t N, H, W, h, w;  // h, w: padded
  StridedMap<A> frames;   // (N, 3, H, W)
  T* stem;                // (N, h, w, 3), contiguous, as all that follow
  A* padded;              // (N, 3, h, w), or null where nothing is padded
  A* luma2;               // (N, h/2, w/2)
  A* quarter;             // (N, 3, h/4, w/4)
  A* luma4;               // (N, h/4, w/4)
  A* luma8;               // (N, h/8, w/8)
};

// -- rows; not inlined, since GCC vectorises each loop alone --------------------------------------

// Means over 2 x 2 values of two rows, in the order of avg_pool2d.
template <typename A>
__attribute__((noinline)) void halve_rows(const A* __restrict upper, const A* __restrict lower,
                                          int64_t half, A* __restrict to) {
  LIFT_SIMD
  for (int64_t x = 0; x < half; ++x)
    to[x] = (upper[2 * x] + upper[2 * x + 1] + lower[2 * x] + lower[2 * x + 1]) * A(0.25);
}

template <typename A>
__attribute__((noinline)) void luma_of_row(const A* __restrict red, const A* __restrict green,
                                           const A* __restrict blue, int64_t n, A* __restrict to) {
  LIFT_SIMD
  for (int64_t x = 0; x < n; ++x)
    to[x] =
        A(luma_weights[0]) * red[x] + A(luma_weights[1]) * green[x] + A(luma_weights[2]) * blue[x];
}

template <typename T, typename A = Wide<T>>
__attribute__((noinline)) void normalize_row(const A* __restrict red, const A* __restrict green,
                                             const A* __restrict blue, int64_t n,
                                             T* __restrict to) {
  LIFT_SIMD
  for (int64_t x = 0; x < n; ++x) {
    to[3 * x] = narrow<T>((red[x] - A(0.5)) * A(4));
    to[3 * x + 1] = narrow<T>((green[x] - A(0.5)) * A(4));
    to[3 * x + 2] = narrow<T>((blue[x] - A(0.5)) * A(4));
  }
}

// -- eight rows -----------------------------------------------------------------------------------

// A padded row of a channel: in the frame, in `padded` or in `copy`.
template <typename T, typename A = Wide<T>>
const A* padded_row(const Arguments<T>& p, int64_t n, int c, int64_t y, A* copy) {
  const StridedMap<A>& map = p.frames;
  const A* const from =
      map.data + n * map.stride_b + c * map.stride_c + std::min(y, p.H - 1) * map.stride_y;
  if (!p.padded && map.stride_x == 1) return from;
  A* const to = p.padded ? p.padded + ((n * colours + c) * p.h + y) * p.w : copy;
  if (map.stride_x == 1)
    std::copy_n(from, p.W, to);
  else
    for (int64_t x = 0; x < p.W; ++x) to[x] = from[x * map.stride_x];
  std::fill(to + p.W, to + p.w, to[p.W - 1]);
  return to;
}

// Row buffers of one thread.
template <typename A>
struct Rows {
  const int64_t w;
  std::vector<A> copies, halves;

  explicit Rows(int64_t w) : w(w), copies(rows * colours * w), halves(rows / 2 * colours * w / 2) {}

  A* copy(int c, int k) { return copies.data() + (c * rows + k) * w; }
  A* half(int c, int k) { return halves.data() + (c * rows / 2 + k) * w / 2; }
};

// Everything of rows 8 i to 8 i + 7.
template <typename T, typename A = Wide<T>>
void compute_group(const Arguments<T>& p, int64_t n, int64_t i, Rows<A>& buffers) {
  std::array<const A*, rows> row[colours];
  for (int c = 0; c < colours; ++c)
    for (int k = 0; k < rows; ++k) {
      row[c][k] = padded_row(p, n, c, rows * i + k, buffers.copy(c, k));
      if (k % 2) halve_rows(row[c][k - 1], row[c][k], p.w / 2, buffers.half(c, k / 2));
    }
  for (int k = 0; k < rows; ++k)
    normalize_row(row[0][k], row[1][k], row[2][k], p.w,
                  p.stem + (n * p.h + rows * i + k) * p.w * colours);
  for (int k = 0; k < rows / 2; ++k)
    luma_of_row(buffers.half(0, k), buffers.half(1, k), buffers.half(2, k), p.w / 2,
                p.luma2 + (n * p.h / 2 + rows / 2 * i + k) * p.w / 2);
  A* luma4[2];
  for (int k = 0; k < 2; ++k) {
    const int64_t y = 2 * i + k;
    A* quarter[colours];
    for (int c = 0; c < colours; ++c) {
      quarter[c] = p.quarter + ((n * colours + c) * p.h / 4 + y) * p.w / 4;
      halve_rows(buffers.half(c, 2 * k), buffers.half(c, 2 * k + 1), p.w / 4, quarter[c]);
    }
    luma4[k] = p.luma4 + (n * p.h / 4 + y) * p.w / 4;
    luma_of_row(quarter[0], quarter[1], quarter[2], p.w / 4, luma4[k]);
  }
  halve_rows(luma4[0], luma4[1], p.w / 8, p.luma8 + (n * p.h / 8 + i) * p.w / 8);
}

template <typename T>
void frame_inputs(const Arguments<T>& p) {
  const int64_t values = 2 * colours * p.N * p.h * p.w;
  for_row_blocks(row_blocks(p.N, p.h / rows, values), values, [&](int64_t, const RowBlock& block) {
    Rows<Wide<T>> buffers(p.w);
    for (int64_t i = block.begin; i < block.end; ++i) compute_group(p, block.b, i, buffers);
  });
}

}  // namespace

std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor, Tensor> frame_inputs_cpu(const Tensor& frames,
                                                                            int64_t multiple,
                                                                            ScalarType dtype) {
  STD_TORCH_CHECK(frames.dim() == 4, "frames must be (N, 3, H, W)");
  STD_TORCH_CHECK(multiple > 0 && multiple % rows == 0, "multiple must be a multiple of ", rows);
  const int64_t N = frames.size(0), H = frames.size(2), W = frames.size(3);
  STD_TORCH_CHECK(H > 0 && W > 0, "frames must have pixels");
  const ScalarType wide = accumulate_dtype(dtype);
  check_tensor("frames", frames, {N, colours, H, W}, wide);
  const int64_t h = (H + multiple - 1) / multiple * multiple;
  const int64_t w = (W + multiple - 1) / multiple * multiple;
  const auto planes = [&](int64_t channels, int64_t scale) {
    return empty({N, channels, h / scale, w / scale}, frames, wide, MemoryFormat::Contiguous);
  };
  const bool is_padded = h != H || w != W;
  Tensor stem = empty({N, colours, h, w}, frames, dtype, MemoryFormat::ChannelsLast);
  Tensor padded = is_padded ? planes(colours, 1) : empty_placeholder(frames, wide);
  Tensor luma2 = planes(1, 2), quarter = planes(colours, 4), luma4 = planes(1, 4);
  Tensor luma8 = planes(1, 8);
  dispatch_feature_type(dtype, [&](auto feature) {
    using T = decltype(feature);
    using A = Wide<T>;
    const auto data = [](Tensor& x) { return static_cast<A*>(x.mutable_data_ptr()); };
    frame_inputs<T>({N, H, W, h, w, StridedMap<A>(frames), static_cast<T*>(stem.mutable_data_ptr()),
                     is_padded ? data(padded) : nullptr, data(luma2), data(quarter), data(luma4),
                     data(luma8)});
  });
  return {stem, padded, luma2, quarter, luma4, luma8};
}

}  // namespace lift
