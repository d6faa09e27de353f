// Flows along curved paths, in one pass.
//
// kernels/ops/curve_flows/reference.py defines it. Each thread computes its rows in order. For the
// agreement of both sides it keeps the nine rows of products around a row, summed over the width of
// the window; the rest is a strip of up to 64 pixels at a time. The predictions alone may be
// bfloat16 (T).
#include "curve_flows_cpu.h"

#include <torch/headeronly/util/Exception.h>

#include <algorithm>
#include <vector>

#include "../common/bfloat16.h"
#include "../common/exp.h"
#include "../common/parallel.h"
#include "../common/path_times.h"
#include "../common/plane_samples.h"
#include "../common/strip.h"

namespace lift {
namespace {

// As in reference.py.
constexpr int window = 9, radius = window / 2, flows = 4, state_channels = 6;
constexpr double epsilon = 1e-8;

template <typename T, typename A = Wide<T>>
struct Arguments {
  int64_t B, H, W;
  StridedMap<T> predicted;  // (B, C, H, W)
  std::vector<A> bias;      // (C,), or empty
  StridedMap<A> state;      // (B, 6, H, W)
  Planes<A> differences;    // (B, 2 G, H, W)
  PathTimes<A> path;        // (B, G)
  const A* t;               // (B,)
  int64_t stride_t;
  A confidence_logit, largest_weight;
  A noise[most_gaps / 2 - 1];  // of the orders above 2
  A* out;                      // (B, 6, H, W), contiguous

  A bias_of(int c) const { return bias.empty() ? A(0) : bias[c]; }
  // Row y of one component of a difference.
  const A* difference(int64_t b, int g, int c, int64_t y) const {
    return differences.data + b * differences.stride_b + (2 * g + c) * differences.stride_c +
           y * differences.stride_y;
  }
};

// Weights of one image.
template <int G, typename A>
struct Weights {
  A residual;
  A difference[G];

  template <typename T>
  Weights(const Arguments<T>& p, int64_t b) {
    const A t = p.t[b * p.stride_t];
    A factor = t * (t - 1);
    residual = p.path.is_valid(b, 0) || p.path.is_valid(b, 1) ? factor : A(0);
    for (int g = 0; g < G; g += 2) {
      const A left = p.path.time(b, g), right = p.path.time(b, g + 1);
      const bool knows_left = p.path.known(b, g), knows_right = p.path.known(b, g + 1);
      const bool both = knows_left && knows_right;
      const A largest = g < 2 ? A(1) : p.largest_weight;
      const A to_left = both ? (right - t) / (right - left) : A(1);
      const A to_right = both ? (t - left) / (right - left) : A(1);
      difference[g] = knows_left ? largest * factor * (to_left < A(0) ? -to_left : to_left) : A(0);
      difference[g + 1] =
          knows_right ? largest * factor * (to_right < A(0) ? -to_right : to_right) : A(0);
      factor *= (t - left) * (t - right);
    }
  }

  // Whether the differences of an order count.
  bool counts(int order) const {
    return difference[2 * order] != A(0) || difference[2 * order + 1] != A(0);
  }
};

// -- the agreement of both sides ------------------------------------------------------------------

// Not inlined, as the next ones: GCC vectorises each loop alone.
template <typename A>
__attribute__((noinline)) void multiply(const A* __restrict left_x, const A* __restrict left_y,
                                        const A* __restrict right_x, const A* __restrict right_y,
                                        int64_t W, A* __restrict products, A* __restrict squares) {
  LIFT_SIMD
  for (int64_t x = 0; x < W; ++x) {
    const A a = left_x[x], b = left_y[x], c = right_x[x], d = right_y[x];
    products[x] = a * c + b * d;
    squares[x] = A(0.5) * ((a * a + c * c) + (b * b + d * d));
  }
}

template <typename A>
LIFT_HD A sum_of_nine(A a, A b, A c, A d, A e, A f, A g, A h, A i) {
  return (((a + b) + (c + d)) + ((e + f) + (g + h))) + i;
}

template <typename A>
__attribute__((noinline)) void sum_along(const A* __restrict from, int64_t W, A* __restrict to) {
  LIFT_SIMD
  for (int64_t x = 0; x < W; ++x)
    to[x] = sum_of_nine(from[x - 4], from[x - 3], from[x - 2], from[x - 1], from[x], from[x + 1],
                        from[x + 2], from[x + 3], from[x + 4]);
}

template <typename A>
__attribute__((noinline)) void sum_across(const A* const (&rows)[window], int64_t W,
                                          A* __restrict to) {
  const A *const r0 = rows[0], *const r1 = rows[1], *const r2 = rows[2], *const r3 = rows[3],
          *const r4 = rows[4], *const r5 = rows[5], *const r6 = rows[6], *const r7 = rows[7],
          *const r8 = rows[8];
  LIFT_SIMD
  for (int64_t x = 0; x < W; ++x)
    to[x] = sum_of_nine(r0[x], r1[x], r2[x], r3[x], r4[x], r5[x], r6[x], r7[x], r8[x]);
}

// The trust in a row of differences, in place of the sums of products. `small` is epsilon times the
// columns of the window of each pixel.
template <typename A>
__attribute__((noinline)) void trust_sums(const A* __restrict squares, const A* __restrict small,
                                          A rows, A noise, int64_t W, A* __restrict products) {
  LIFT_SIMD
  for (int64_t x = 0; x < W; ++x) {
    const A above = products[x] / (squares[x] + rows * small[x]) - noise;
    const A positive = above < A(0) ? A(0) : above;  // keeps what is not a number
    products[x] = positive > A(1) ? A(1) : positive;
  }
}

// Row buffers of one order and one thread.
template <typename T, typename A = Wide<T>>
class Agreement {
 public:
  const int order;

  Agreement(const Arguments<T>& p, int order)
      : order(order),
        p(p),
        stride(p.W + 2 * radius),
        memory((2 + 2 * window + 3) * stride),
        small(memory.data() + (2 + 2 * window) * stride),
        zero(small + stride) {
    for (int64_t x = 0; x < p.W; ++x) {
      const int64_t first = std::max<int64_t>(x - radius, 0), last = std::min(x + radius, p.W - 1);
      small[x] = A(epsilon) * A(last - first + 1);
    }
  }

  // Before the first row of a block.
  void begin(int64_t y) { next = std::max<int64_t>(y - radius, 0); }

  // The trust in row y, which lies in `trust` then. Rows come in order.
  void compute_row(int64_t b, int64_t y, A* trust) {
    const int64_t last = std::min(y + radius, p.H - 1), first = std::max<int64_t>(y - radius, 0);
    for (; next <= last; ++next) {
      // Both have `radius` zeros on both sides.
      A *const products = memory.data() + radius, *const squares = products + stride;
      const int left = 2 * order, right = left + 1;
      multiply(p.difference(b, left, 0, next), p.difference(b, left, 1, next),
               p.difference(b, right, 0, next), p.difference(b, right, 1, next), p.W, products,
               squares);
      sum_along(products, p.W, sums(next, 0));
      sum_along(squares, p.W, sums(next, 1));
    }
    A* const squares = zero + stride;
    for (int i = 0; i < 2; ++i) {
      const A* around[window];
      for (int k = 0; k < window; ++k) {
        const int64_t at = y + k - radius;
        around[k] = at < first || at > last ? zero : sums(at, i);
      }
      sum_across(around, p.W, i == 0 ? trust : squares);
    }
    trust_sums(squares, small, A(last - first + 1), p.noise[order - 1], p.W, trust);
  }

 private:
  // Products (0) or squares (1) of row y, summed over the width of the window.
  A* sums(int64_t y, int i) { return memory.data() + (2 + y % window * 2 + i) * stride; }

  const Arguments<T>& p;
  const int64_t stride;
  std::vector<A> memory;
  A *const small, *const zero;
  int64_t next = 0;
};

// -- the flows ------------------------------------------------------------------------------------

template <typename A>
__attribute__((noinline)) void scale_residual(const A* __restrict from, A bias, A weight, int n,
                                              A* __restrict to) {
  LIFT_SIMD
  for (int k = 0; k < n; ++k) to[k] = weight * (from[k] + bias);
}

template <typename A>
LIFT_HD A sigmoid(A x) {
  const A e = exp_neg(x < A(0) ? x : -x);
  return (x < A(0) ? e : A(1)) / (A(1) + e);
}

// Add a difference by its weight and the confidence in it.
template <typename A>
__attribute__((noinline)) void add_difference(const A* __restrict logits, A bias, A logit, A weight,
                                              const A* __restrict trust, const A* __restrict dx,
                                              const A* __restrict dy, int n, A* __restrict to_x,
                                              A* __restrict to_y) {
  LIFT_SIMD
  for (int k = 0; k < n; ++k) {
    const A confidence = sigmoid(logit + (logits[k] + bias)) * trust[k] * weight;
    to_x[k] += confidence * dx[k];
    to_y[k] += confidence * dy[k];
  }
}

template <typename A>
__attribute__((noinline)) void subtract(const A* __restrict a, const A* __restrict b, int n,
                                        A* __restrict to) {
  LIFT_SIMD
  for (int k = 0; k < n; ++k) to[k] = a[k] - b[k];
}

// Row y of the result; `trust` has a row for each order, (G / 2, W).
template <int G, typename T, typename A = Wide<T>>
void compute_row(const Arguments<T>& p, const Weights<G, A>& weights, const A* trust, int64_t b,
                 int64_t y) {
  for (int64_t x = 0; x < p.W; x += strip_length) {
    alignas(64) A offset[2][strip_length], copy[strip_length];
    const int n = strip_size(x, p.W);
    for (int c = 0; c < 2; ++c)
      scale_residual(p.predicted.load_wide_strip(b, 2 + c, y, x, n, copy), p.bias_of(2 + c),
                     weights.residual, n, offset[c]);
    for (int g = 0; g < G; ++g) {
      const int channel = g < 2 ? g : g + 2;
      add_difference(p.predicted.load_wide_strip(b, channel, y, x, n, copy), p.bias_of(channel),
                     g < 2 ? p.confidence_logit : A(0), weights.difference[g],
                     trust + g / 2 * p.W + x, p.difference(b, g, 0, y) + x,
                     p.difference(b, g, 1, y) + x, n, offset[0], offset[1]);
    }
    for (int c = 0; c < state_channels; ++c) {
      const A* const from = p.state.load_strip(b, c, y, x, n, copy);
      A* const to = p.out + ((b * state_channels + c) * p.H + y) * p.W + x;
      if (c < flows)
        subtract(from, offset[c % 2], n, to);
      else
        std::copy_n(from, n, to);
    }
  }
}

template <int G, typename T, typename A = Wide<T>>
void curve_flows(const Arguments<T>& p) {
  const int64_t values = p.B * p.H * p.W * (state_channels + 4 * G);
  for_row_blocks(row_blocks(p.B, p.H, values), values, [&](int64_t, const RowBlock& block) {
    const Weights<G, A> weights(p, block.b);
    std::vector<A> trust(G / 2 * p.W, A(1));  // in order 2 it is whole
    std::vector<Agreement<T>> agreements;
    agreements.reserve(G / 2);
    for (int order = 1; order < G / 2; ++order)
      if (weights.counts(order)) {
        agreements.emplace_back(p, order);
        agreements.back().begin(block.begin);
      }
    for (int64_t y = block.begin; y < block.end; ++y) {
      for (Agreement<T>& of : agreements) of.compute_row(block.b, y, trust.data() + of.order * p.W);
      compute_row<G>(p, weights, trust.data(), block.b, y);
    }
  });
}

}  // namespace

Tensor curve_flows_cpu(const Tensor& predicted, const std::optional<Tensor>& bias,
                       const Tensor& state, const Tensor& differences, const Tensor& times,
                       const Tensor& valid, const Tensor& t, double confidence_logit,
                       double largest_weight, std::vector<double> noise_agreement) {
  STD_TORCH_CHECK(state.dim() == 4, "state must be (B, 6, h, w)");
  STD_TORCH_CHECK(differences.dim() == 5, "differences must be (B, G, 2, h, w)");
  STD_TORCH_CHECK(predicted.dim() == 4, "predicted must be (B, C, h, w)");
  const ScalarType dtype = state.scalar_type();
  STD_TORCH_CHECK(dtype == accumulate_dtype(dtype), "state must be float32 or float64");
  const int64_t B = state.size(0), H = state.size(2), W = state.size(3);
  const int64_t G = differences.size(1), C = predicted.size(1);
  check_path_times(times, valid, B, G, dtype);
  STD_TORCH_CHECK(C >= 2 + G, "predicted must have at least ", 2 + G, " channels");
  STD_TORCH_CHECK(static_cast<int64_t>(noise_agreement.size()) >= G / 2 - 1,
                  "noise_agreement must have ", G / 2 - 1, " values");
  const ScalarType features = predicted.scalar_type();
  STD_TORCH_CHECK(accumulate_dtype(features) == dtype, "predicted has the wrong dtype");
  check_tensor("predicted", predicted, {B, C, H, W}, features);
  if (bias) check_tensor("bias", *bias, {C}, bias->scalar_type());
  check_tensor("state", state, {B, state_channels, H, W}, dtype);
  check_tensor("differences", differences, {B, G, 2, H, W}, dtype);
  check_tensor("t", t, {B}, dtype);
  Tensor out = empty({B, state_channels, H, W}, state, dtype, MemoryFormat::Contiguous);
  if (state.numel() == 0) return out;
  dispatch_feature_type(features, [&](auto number) {
    using T = decltype(number);
    using A = Wide<T>;
    Arguments<T> p{B,
                   H,
                   W,
                   StridedMap<T>(predicted),
                   bias ? to_vector<A>(*bias) : std::vector<A>(),
                   StridedMap<A>(state),
                   Planes<A>(torch::stable::flatten(differences, 1, 2)),
                   PathTimes<A>(times, valid),
                   static_cast<const A*>(t.const_data_ptr()),
                   t.stride(0),
                   A(confidence_logit),
                   A(largest_weight),
                   {},
                   static_cast<A*>(out.mutable_data_ptr())};
    for (int i = 0; i < G / 2 - 1; ++i) p.noise[i] = A(noise_agreement[i]);
    if (G == 2) curve_flows<2>(p);
    if (G == 4) curve_flows<4>(p);
    if (G == 6) curve_flows<6>(p);
  });
  return out;
}

}  // namespace lift
