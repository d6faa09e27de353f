// The expected motion between two references on the grid of the target, in one pass.
//
// kernels/ops/global_motion/reference.py defines it. A strip of up to 64 pixels is computed at a
// time: every plane of the volume is sampled with one shift, so all loops are over neighbouring
// pixels; the softmax and the transposition to pixels find the samples in the cache.
// Features and the decoder's input may be bfloat16; the rest is of the type that is computed in.
#include "global_motion_cpu.h"

#include <torch/headeronly/util/Exception.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "../common/bfloat16.h"
#include "../common/parallel.h"
#include "../common/pixels.h"
#include "../common/plane_samples.h"
#include "../common/transpose.h"
#include "../warp_blend/warp.h"

namespace lift {
namespace {

constexpr int state_channels = 6;  // as in reference.py
constexpr int maps = 3;            // motion and t

template <typename T>
struct Arguments {
  using A = Wide<T>;

  int64_t B, H, W, C, radius;
  Planes<A> volume;       // (B, M, H, W)
  ImageView left, right;  // (B, C, H, W)
  A inv_temperature;
  const A* prior;  // (M,), contiguous
  const A* t;      // (B,)
  int64_t stride_t;
  T* inputs;  // (B, H, W, K)
  A* state;   // (B, 6, H, W)

  int64_t side() const { return 2 * radius + 1; }
  int64_t M() const { return side() * side(); }
  int64_t K() const { return M() + 2 * C + maps; }
};

// -- samples --------------------------------------------------------------------------------------

// A shift of all columns: by whole ones, and a fraction of one further.
template <typename A>
struct Shift {
  int64_t whole;
  A fraction;

  // As clamped coordinates do, a shift of more than W samples the border, and NaN the first column.
  Shift(A shift, int64_t W) {
    const A most = A(W);
    const A clamped = shift > -most ? (shift < most ? shift : most) : -most;
    const A floor = std::floor(clamped);
    whole = static_cast<int64_t>(floor);
    fraction = clamped - floor;
  }
};

// Not inlined, as the next ones: GCC vectorises each alone.
template <typename A>
__attribute__((noinline)) void interpolate(const A* __restrict from, const A* __restrict next,
                                           A fraction, int64_t n, A* __restrict to) {
  LIFT_SIMD
  for (int64_t k = 0; k < n; ++k) to[k] = from[k] + fraction * (next[k] - from[k]);
}

// n samples from column x on of a plane between two of its rows.
template <typename A>
void sample_strip(const A* north, const A* south, A fy, const Shift<A>& shift, int64_t x, int n,
                  int64_t W, A* to) {
  alignas(64) A columns[strip_length + 1];  // from `begin` on, beyond the borders as on them
  const int64_t begin = x + shift.whole;
  const int64_t first = std::clamp<int64_t>(begin, 0, W - 1);
  const int64_t last = std::clamp<int64_t>(begin + n, 0, W - 1);
  const int64_t before = std::clamp<int64_t>(first - begin, 0, n), inside = last - first + 1;
  interpolate(north + first, south + first, fy, inside, columns + before);
  std::fill_n(columns, before, columns[before]);
  std::fill(columns + before + inside, columns + n + 1, columns[before + inside - 1]);
  interpolate(columns, columns + 1, shift.fraction, n, to);
}

// The samples of all planes in n pixels from (x, y) on.
template <typename T, typename A = Wide<T>>
void sample_volume(const Arguments<T>& p, int64_t b, int64_t y, int64_t x, int n,
                   const std::vector<Shift<A>>& shifts, Strip<A>* sampled) {
  const A t = p.t[b * p.stride_t];
  const A* plane = p.volume.data + b * p.volume.stride_b;
  for (int64_t i = 0; i < p.side(); ++i) {
    const BilinearTap<A> tap =
        bilinear_tap(static_cast<int32_t>(y), -t * A(i - p.radius), static_cast<int32_t>(p.H));
    for (int64_t j = 0; j < p.side(); ++j, plane += p.volume.stride_c, ++sampled) {
      const A* const north = plane + tap.low * p.volume.stride_y;
      sample_strip(north, north + tap.step * p.volume.stride_y, tap.fraction, shifts[j], x, n, p.W,
                   *sampled);
    }
  }
}

// -- the expected motion --------------------------------------------------------------------------

template <typename A>
__attribute__((noinline)) void take_largest(const A* __restrict sampled, A scale, A prior, int n,
                                            A* __restrict largest) {
  LIFT_SIMD
  for (int k = 0; k < n; ++k) {
    const A logit = scale * sampled[k] + prior;
    largest[k] = logit > largest[k] ? logit : largest[k];
  }
}

// Sums over displacements (dx, dy): of the weights, and of these times dx and dy.
template <typename A>
__attribute__((noinline)) void add_weighted(const A* __restrict sampled, A scale, A prior, A dx,
                                            A dy, const A* __restrict largest, int n,
                                            A* __restrict sum, A* __restrict sum_x,
                                            A* __restrict sum_y) {
  LIFT_SIMD
  for (int k = 0; k < n; ++k) {
    const A weight = exp_neg(scale * sampled[k] + prior - largest[k]);
    sum[k] += weight;
    sum_x[k] += weight * dx;
    sum_y[k] += weight * dy;
  }
}

template <typename T, typename A = Wide<T>>
void expect_motion(const Arguments<T>& p, const Strip<A>* sampled, int n, A* motion_x,
                   A* motion_y) {
  alignas(64) A largest[strip_length], sum[strip_length] = {};
  for (int k = 0; k < n; ++k) largest[k] = p.inv_temperature * sampled[0][k] + p.prior[0];
  for (int64_t m = 1; m < p.M(); ++m)
    take_largest(sampled[m], p.inv_temperature, p.prior[m], n, largest);
  std::fill_n(motion_x, n, A(0));
  std::fill_n(motion_y, n, A(0));
  for (int64_t m = 0; m < p.M(); ++m)
    add_weighted(sampled[m], p.inv_temperature, p.prior[m], A(m % p.side() - p.radius),
                 A(m / p.side() - p.radius), largest, n, sum, motion_x, motion_y);
  for (int k = 0; k < n; ++k) {
    motion_x[k] /= sum[k];
    motion_y[k] /= sum[k];
  }
}

// -- the results ----------------------------------------------------------------------------------

template <typename T, typename A = Wide<T>>
void write_features(const Arguments<T>& p, const ImageView& image, int64_t b, int64_t y, int64_t x,
                    int n, A* copy, T* to) {
  if (image.stride_c == 1) {
    const T* const from = static_cast<const T*>(image.data) + b * image.stride_b +
                          y * image.stride_y + x * image.stride_x;
    for (int k = 0; k < n; ++k) std::copy_n(from + k * image.stride_x, p.C, to + k * p.K());
    return;
  }
  const A* const from = read_pixels(image, b, y, x, n, p.C, copy);
  for (int k = 0; k < n; ++k)
    for_channels<A>(p.C, [&](auto lanes, int64_t c) {
      store_narrow<T>(to + k * p.K() + c, load(from + k * p.C + c, lanes), lanes);
    });
}

template <typename T, typename A = Wide<T>>
void write_state(const Arguments<T>& p, int64_t b, int64_t y, int64_t x, int n,
                 const Strip<A>* motion) {
  const A t = p.t[b * p.stride_t];
  for (int c = 0; c < state_channels; ++c) {
    A* const to = p.state + ((b * state_channels + c) * p.H + y) * p.W + x;
    const A factor = c < 2 ? -t : A(1) - t;
    for (int k = 0; k < n; ++k) to[k] = c < 4 ? factor * motion[c % 2][k] : A(0);
  }
}

template <typename T>
void global_motion(const Arguments<T>& p) {
  using A = Wide<T>;
  const int64_t values = p.B * p.H * p.W * p.K();
  for_row_blocks(row_blocks(p.B, p.H, values), values, [&](int64_t, const RowBlock& block) {
    const int64_t b = block.b;
    const A t = p.t[b * p.stride_t];
    std::vector<Shift<A>> shifts;
    for (int64_t j = 0; j < p.side(); ++j) shifts.emplace_back(-t * A(j - p.radius), p.W);
    std::vector<A> memory((p.M() + 3) / 4 * 4 * strip_length), copy(strip_length * p.C);
    auto* const sampled = reinterpret_cast<Strip<A>*>(memory.data());
    alignas(64) A motion[4][strip_length] = {};  // the third becomes t, the fourth is not written
    for (int64_t y = block.begin; y < block.end; ++y)
      for (int64_t x = 0; x < p.W; x += strip_length) {
        const int n = strip_size(x, p.W);
        T* const to = p.inputs + ((b * p.H + y) * p.W + x) * p.K();
        sample_volume(p, b, y, x, n, shifts, sampled);
        write_transposed<T>(sampled, static_cast<int>(p.M()), n, p.K(), to);
        write_features(p, p.left, b, y, x, n, copy.data(), to + p.M());
        write_features(p, p.right, b, y, x, n, copy.data(), to + p.M() + p.C);
        expect_motion(p, sampled, n, motion[0], motion[1]);
        write_state(p, b, y, x, n, motion);
        for (int k = 0; k < n; ++k) {
          motion[0][k] /= A(p.radius);
          motion[1][k] /= A(p.radius);
          motion[2][k] = t;
        }
        write_transposed<T>(motion, maps, n, p.K(), to + p.M() + 2 * p.C);
      }
  });
}

}  // namespace

std::tuple<Tensor, Tensor> global_motion_cpu(const Tensor& volume, const Tensor& left,
                                             const Tensor& right, const Tensor& inv_temperature,
                                             const Tensor& prior, const Tensor& t, int64_t radius,
                                             ScalarType dtype) {
  STD_TORCH_CHECK(volume.dim() == 4 && left.dim() == 4, "volume and left must be (B, C, H, W)");
  const ScalarType wide = accumulate_dtype(dtype);
  STD_TORCH_CHECK(dtype == wide || dtype == ScalarType::BFloat16,
                  "dtype must be float32, float64 or bfloat16");
  const int64_t B = volume.size(0), M = volume.size(1), H = volume.size(2), W = volume.size(3);
  const int64_t C = left.size(1);
  STD_TORCH_CHECK(H <= max_side && W <= max_side, "sides must be at most ", max_side);
  STD_TORCH_CHECK(radius >= 1 && radius < 1024 && M == (2 * radius + 1) * (2 * radius + 1),
                  "volume does not fit radius");
  check_tensor("volume", volume, {B, M, H, W}, wide);
  check_tensor("left", left, {B, C, H, W}, dtype);
  check_tensor("right", right, {B, C, H, W}, dtype);
  check_tensor("inv_temperature", inv_temperature, {}, wide);
  check_tensor("prior", prior, {M}, wide);
  check_tensor("t", t, {B}, wide);
  Tensor pixels = empty({B, H, W, M + 2 * C + maps}, volume, dtype, MemoryFormat::Contiguous);
  // As `empty_output` in reference.py, also where a side is 1.
  const Tensor inputs = torch::stable::transpose(torch::stable::transpose(pixels, 1, 3), 2, 3);
  Tensor state = empty({B, state_channels, H, W}, volume, wide, MemoryFormat::Contiguous);
  if (volume.numel() == 0) return {inputs, state};
  const Tensor dense = to_layout(prior, MemoryFormat::Contiguous);
  dispatch_feature_type(dtype, [&](auto number) {
    using T = decltype(number);
    using A = Wide<T>;
    global_motion<T>({B, H, W, C, radius, Planes<A>(volume), ImageView(left), ImageView(right),
                      *static_cast<const A*>(inv_temperature.const_data_ptr()),
                      static_cast<const A*>(dense.const_data_ptr()),
                      static_cast<const A*>(t.const_data_ptr()), t.stride(0),
                      static_cast<T*>(pixels.mutable_data_ptr()),
                      static_cast<A*>(state.mutable_data_ptr())});
  });
  return {inputs, state};
}

}  // namespace lift
