// The frame that the refinement's residuals make of the references, in one pass.
//
// kernels/ops/refine_output/reference.py defines it. A strip of up to 64 columns and S rows of the
// frame, S being the stride of the refinement, is computed at a time, from residuals that are read
// once. Nothing at full resolution but the frame reaches memory.
#include "refine_output_cpu.h"

#include <torch/headeronly/util/Exception.h>

#include <algorithm>
#include <limits>
#include <type_traits>
#include <vector>

#include "../common/bfloat16.h"
#include "../common/parallel.h"
#include "../common/plane_samples.h"
#include "../common/upsampling.h"
#include "../warp_blend/warp.h"
#include "sharp_samples.h"

namespace lift {
namespace {

// As in reference.py: the residuals are those of the flows, of the logits, a colour, the gate's,
// and the sharpness, if there are eleven.
constexpr int flows = 4, logits = 4, state_channels = 6, colour = 6, gate = 9, sharpness = 10;
constexpr int residuals = 10, sharp_residuals = 11;
constexpr double gate_slope = 4;

// T is the type of the residual, A that of everything else.
template <typename T, typename A = Wide<T>>
struct Arguments {
  int64_t B, H, W;
  StridedMap<T> residual;  // (B, R S^2, H/S, W/S)
  std::vector<A> bias;     // (R S^2,)
  Planes<A> image[2];      // (B, 3, H, W)
  StridedMap<A> state;     // (B, 6, H/2, W/2)
  StridedMap<A> change;    // (B, 1, H/2, W/2)
  A threshold;
  A* out;  // (B, 3, H, W), contiguous
};

// -- residuals ------------------------------------------------------------------------------------

// The residuals of a strip of S rows, with their bias.
template <int S, int R, typename T, typename A = Wide<T>>
struct alignas(64) Residuals {
  A row[S][R][strip_length];

  // n / S pixels from (x, y) on of the residual.
  Residuals(const Arguments<T>& p, int64_t b, int64_t y, int64_t x, int n) {
    const StridedMap<T>& map = p.residual;
    const T* const from = map.data + b * map.stride_b + y * map.stride_y + x * map.stride_x;
    if (S > 1 && map.stride_c == 1)
      read_pixels(from, p.bias.data(), map.stride_x, n / S);
    else
      for (int c = 0; c < R * S * S; ++c)
        read_plane(from + c * map.stride_c, p.bias[c], map.stride_x, n / S,
                   row[c / S % S][c / (S * S)] + c % S);
  }

  static void read_plane(const T* from, A bias, int64_t stride, int count, A* to) {
    for (int k = 0; k < count; ++k) to[S * k] = widen(from[k * stride]) + bias;
  }

  // Four adjacent residuals are those of a pixel's 2 x 2 pixels of the frame, or of a row of its
  // 4 x 4.
  void read_pixels(const T* from, const A* bias, int64_t stride, int count) {
    if constexpr (S == 4) {
      for (int k = 0; k < count; ++k)
        for (int c = 0; c < R * S; ++c)
          store<A>(
              row[c % S][c / S] + 4 * k,
              load_wide(from + k * stride + 4 * c, four_lanes) + load(bias + 4 * c, four_lanes),
              four_lanes);
    } else {
      for (int k = 0; k < count; k += 2) {
        const T* const west = from + k * stride;
        const T* const east = k + 1 < count ? west + stride : west;
        for (int c = 0; c < R; ++c) {
          const Vec<A, 4> offset = load(bias + 4 * c, four_lanes);
          const Vec<A, 4> w = load_wide(west + 4 * c, four_lanes) + offset;
          const Vec<A, 4> e = load_wide(east + 4 * c, four_lanes) + offset;
          store<A>(row[0][c] + 2 * k, __builtin_shufflevector(w, e, 0, 1, 4, 5), four_lanes);
          store<A>(row[S - 1][c] + 2 * k, __builtin_shufflevector(w, e, 2, 3, 6, 7), four_lanes);
        }
      }
    }
  }
};

// -- arithmetic of a strip ------------------------------------------------------------------------

// Not inlined, as the next ones: GCC vectorises each loop alone.
template <typename A>
__attribute__((noinline)) void open_gate(const A* __restrict change, const A* __restrict residual,
                                         A threshold, int n, A* __restrict to) {
  LIFT_SIMD
  for (int k = 0; k < n; ++k) {
    const A logit = A(gate_slope) * (change[k] - threshold) + residual[k];
    const A hidden = exp_neg(logit > A(0) ? -logit : logit);
    to[k] = (logit > A(0) ? A(1) : hidden) / (A(1) + hidden);
  }
}

template <typename A>
__attribute__((noinline)) void move(const A* __restrict gate, const A* __restrict residual, int n,
                                    A* __restrict flow) {
  LIFT_SIMD
  for (int k = 0; k < n; ++k) flow[k] = gate[k] * (flow[k] + residual[k]);
}

template <typename A>
__attribute__((noinline)) void blend(const A* __restrict residual0, const A* __restrict residual1,
                                     int n, A* __restrict logit0, A* __restrict logit1) {
  LIFT_SIMD
  for (int k = 0; k < n; ++k) {
    const VisibilityBlend<A> found =
        visibility_blend(logit0[k] + residual0[k], logit1[k] + residual1[k]);
    logit0[k] = found.weight[0];
    logit1[k] = found.weight[1];
  }
}

template <typename A>
__attribute__((noinline)) void weighted_sum(const A* __restrict weight0,
                                            const A* __restrict sample0,
                                            const A* __restrict weight1,
                                            const A* __restrict sample1, const A* __restrict detail,
                                            int n, A* __restrict to) {
  LIFT_SIMD
  for (int k = 0; k < n; ++k) to[k] = weight0[k] * sample0[k] + weight1[k] * sample1[k] + detail[k];
}

// n pixels of the frame from (x, y) on.
template <int R, typename T, typename I, typename A = Wide<T>>
void compute_strip(const Arguments<T>& p, const A (&residual)[R][strip_length], int64_t b,
                   int64_t y, int64_t x, int n) {
  alignas(64) A state[state_channels][strip_length], change[strip_length];
  const int64_t half_H = p.H / 2, half_W = p.W / 2;
  for (int c = 0; c < state_channels; ++c)
    upsample_strip(p.state, b, c, y, x, n, half_H, half_W, A(c < flows ? 2 : 1), state[c]);
  upsample_strip(p.change, b, 0, y, x, n, half_H, half_W, A(1), change);
  alignas(64) A opening[strip_length];
  open_gate(change, residual[gate], p.threshold, n, opening);
  for (int c = 0; c < flows; ++c) move(opening, residual[c], n, state[c]);
  A *const weight0 = state[logits], *const weight1 = state[logits + 1];
  blend(residual[logits], residual[logits + 1], n, weight0, weight1);
  const int64_t stride0 = p.image[0].stride_y, stride1 = p.image[1].stride_y;
  constexpr bool sharp = R == sharp_residuals;
  using Samples = std::conditional_t<sharp, SharpSamples<A, I>, PlaneSamples<A, I>>;
  const Samples at0(state[0], state[1], y, x, n, p.H, p.W, stride0);
  const Samples at1(state[2], state[3], y, x, n, p.H, p.W, stride1);
  alignas(64) A sample0[strip_length], sample1[strip_length];
  for (int c = 0; c < 3; ++c) {
    const A* const plane0 = p.image[0].data + b * p.image[0].stride_b + c * p.image[0].stride_c;
    const A* const plane1 = p.image[1].data + b * p.image[1].stride_b + c * p.image[1].stride_c;
    A* const to = p.out + ((b * 3 + c) * p.H + y) * p.W + x;
    if constexpr (sharp) {
      sample_strip(plane0, stride0, at0, residual[sharpness], n, sample0);
      sample_strip(plane1, stride1, at1, residual[sharpness], n, sample1);
    } else {
      sample_strip(plane0, stride0, at0, n, sample0);
      sample_strip(plane1, stride1, at1, n, sample1);
    }
    weighted_sum(weight0, sample0, weight1, sample1, residual[colour + c], n, to);
  }
}

// Row y of the residual.
template <int S, int R, typename T, typename I>
void compute_row(const Arguments<T>& p, int64_t b, int64_t y) {
  for (int64_t x = 0; x < p.W; x += strip_length) {
    const int n = strip_size(x, p.W);
    const Residuals<S, R, T> at(p, b, y, x / S, n);
    for (int i = 0; i < S; ++i) compute_strip<R, T, I>(p, at.row[i], b, S * y + i, x, n);
  }
}

template <int R, typename T, typename I>
void refine_output(const Arguments<T>& p, int64_t S) {
  const auto compute = S == 1   ? compute_row<1, R, T, I>
                       : S == 2 ? compute_row<2, R, T, I>
                                : compute_row<4, R, T, I>;
  for_rows(p.B, p.H / S, R * S * p.W, [&](int64_t b, int64_t y) { compute(p, b, y); });
}

}  // namespace

Tensor refine_output_cpu(const Tensor& residual, const Tensor& bias, const Tensor& image0,
                         const Tensor& image1, const Tensor& state, const Tensor& change,
                         const Tensor& threshold, int64_t stride) {
  STD_TORCH_CHECK(image0.dim() == 4, "image0 must be (B, 3, H, W)");
  STD_TORCH_CHECK(stride == 1 || stride == 2 || stride == 4, "stride must be 1, 2 or 4");
  const ScalarType dtype = image0.scalar_type();
  STD_TORCH_CHECK(dtype == accumulate_dtype(dtype), "images must be float32 or float64");
  const int64_t B = image0.size(0), H = image0.size(2), W = image0.size(3);
  STD_TORCH_CHECK(H % std::max<int64_t>(2, stride) == 0 && W % std::max<int64_t>(2, stride) == 0 &&
                      H <= max_side && W <= max_side,
                  "the sides of image0 do not fit");
  const bool sharp = residual.dim() == 4 && residual.size(1) == sharp_residuals * stride * stride;
  const int64_t channels = (sharp ? sharp_residuals : residuals) * stride * stride;
  const ScalarType features = residual.scalar_type();
  STD_TORCH_CHECK(
      features == dtype || (features == ScalarType::BFloat16 && dtype == ScalarType::Float),
      "residual must have the dtype of the images, or bfloat16 beside float32");
  check_tensor("residual", residual, {B, channels, H / stride, W / stride}, features);
  check_tensor("bias", bias, {channels}, bias.scalar_type());
  check_tensor("image0", image0, {B, 3, H, W}, dtype);
  check_tensor("image1", image1, {B, 3, H, W}, dtype);
  check_tensor("state", state, {B, state_channels, H / 2, W / 2}, dtype);
  check_tensor("change", change, {B, 1, H / 2, W / 2}, dtype);
  check_tensor("threshold", threshold, {}, threshold.scalar_type());
  Tensor out = empty(image0, dtype, MemoryFormat::Contiguous);
  if (image0.numel() == 0) return out;
  dispatch_feature_type(features, [&](auto number) {
    using T = decltype(number);
    using A = Wide<T>;
    const Arguments<T> p{B,
                         H,
                         W,
                         StridedMap<T>(residual),
                         to_vector<A>(bias),
                         {Planes<A>(image0), Planes<A>(image1)},
                         StridedMap<A>(state),
                         StridedMap<A>(change),
                         to_vector<A>(threshold)[0],
                         static_cast<A*>(out.mutable_data_ptr())};
    const int64_t span = std::max(p.image[0].span(H, W), p.image[1].span(H, W));
    const auto compute = [&](auto offset) {
      using I = decltype(offset);
      sharp ? refine_output<sharp_residuals, T, I>(p, stride)
            : refine_output<residuals, T, I>(p, stride);
    };
    if (span <= std::numeric_limits<int32_t>::max())
      compute(int32_t());
    else
      compute(int64_t());
  });
  return out;
}

}  // namespace lift
