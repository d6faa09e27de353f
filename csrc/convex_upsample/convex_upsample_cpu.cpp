// Convex upsampling by 2 of flows and visibility logits, in one pass.
//
// kernels/ops/convex_upsample/reference.py defines it. A strip of up to 64 coarse pixels of a row
// is computed at a time: its logits are transposed to rows of pixels, so that each loop of the
// softmax and of the combination is over neighbouring pixels. They alone may be bfloat16 (T).
#include "convex_upsample_cpu.h"

#include <torch/headeronly/util/Exception.h>

#include <algorithm>
#include <vector>

#include "../common/bfloat16.h"
#include "../common/exp.h"
#include "../common/parallel.h"
#include "../common/strip.h"
#include "../common/transpose.h"

namespace lift {
namespace {

// As in reference.py.
constexpr int channels = 6, flows = 4, around = 9, weights = 4 * around;

template <typename T, typename A = Wide<T>>
struct Arguments {
  int64_t B, H, W;
  StridedMap<A> state;   // (B, 6, H, W)
  StridedMap<T> logits;  // (B, 36, H, W)
  const A* prior;        // (36,)
  A* out;                // (B, 6, 2 H, 2 W), contiguous
};

// The coarse pixels around a strip: of three rows, and one more on both sides.
template <typename A>
struct alignas(64) Neighbours {
  A row[channels][3][strip_length + 2];

  template <typename T>
  Neighbours(const Arguments<T>& p, int64_t b, int64_t y, int64_t x, int n) {
    const StridedMap<A>& map = p.state;
    for (int c = 0; c < channels; ++c)
      for (int i = 0; i < 3; ++i) {
        const A* const from = map.data + b * map.stride_b + c * map.stride_c +
                              std::clamp<int64_t>(y + i - 1, 0, p.H - 1) * map.stride_y;
        const A factor = c < flows ? A(2) : A(1);  // a motion is twice as many fine pixels
        A* const to = row[c][i];
        to[0] = factor * from[std::max<int64_t>(x - 1, 0) * map.stride_x];
        for (int k = 0; k < n; ++k) to[k + 1] = factor * from[(x + k) * map.stride_x];
        to[n + 1] = factor * from[std::min<int64_t>(x + n, p.W - 1) * map.stride_x];
      }
  }
};

template <typename A>
struct alignas(64) Weights {
  A row[weights][strip_length];

  // Logits of a strip, with the prior.
  template <typename T>
  Weights(const Arguments<T>& p, int64_t b, int64_t y, int64_t x, int n) {
    const StridedMap<T>& map = p.logits;
    const T* const from = map.data + b * map.stride_b + y * map.stride_y + x * map.stride_x;
    if (map.stride_c == 1) {
      constexpr ActiveLanes<4, 4> lanes;
      for (int k = 0; k < n; k += 4)
        for (int c = 0; c < weights; c += 4) {
          Vec<A, 4> pixel[4];
          for (int i = 0; i < 4; ++i)
            pixel[i] = load_wide(from + std::min(k + i, n - 1) * map.stride_x + c, lanes) +
                       load(p.prior + c, lanes);
          transpose<A>(pixel[0], pixel[1], pixel[2], pixel[3]);
          for (int i = 0; i < 4; ++i) store<A>(row[c + i] + k, pixel[i], lanes);
        }
    } else {
      for (int c = 0; c < weights; ++c)
        for (int k = 0; k < n; ++k)
          row[c][k] = widen(from[c * map.stride_c + k * map.stride_x]) + p.prior[c];
    }
  }
};

// Softmax of nine rows of n logits, in place. Not inlined, as the next ones: GCC vectorises each
// loop alone.
template <typename A>
__attribute__((noinline)) void softmax(A (*__restrict row)[strip_length], int n) {
  LIFT_SIMD
  for (int k = 0; k < n; ++k) {
    A most = row[0][k];
    for (int i = 1; i < around; ++i) most = row[i][k] > most ? row[i][k] : most;
    A sum = 0;
    for (int i = 0; i < around; ++i) {
      row[i][k] = exp_neg(row[i][k] - most);
      sum += row[i][k];
    }
    const A inverse = A(1) / sum;
    for (int i = 0; i < around; ++i) row[i][k] *= inverse;
  }
}

// The fine pixels of one row and every second column.
template <typename A>
__attribute__((noinline)) void combine(const A (*__restrict weight)[strip_length],
                                       const A (*__restrict coarse)[strip_length + 2], int n,
                                       A* __restrict to) {
  LIFT_SIMD
  for (int k = 0; k < n; ++k) {
    A sum = 0;
    for (int i = 0; i < around; ++i) sum += weight[i][k] * coarse[i / 3][k + i % 3];
    to[k] = sum;
  }
}

template <typename A>
__attribute__((noinline)) void interleave(const A* __restrict even, const A* __restrict odd, int n,
                                          A* __restrict to) {
  LIFT_SIMD
  for (int k = 0; k < n; ++k) {
    to[2 * k] = even[k];
    to[2 * k + 1] = odd[k];
  }
}

template <typename T, typename A = Wide<T>>
void compute_strip(const Arguments<T>& p, int64_t b, int64_t y, int64_t x, int n) {
  const Neighbours<A> coarse(p, b, y, x, n);
  Weights<A> weight(p, b, y, x, n);
  for (int i = 0; i < 4; ++i) softmax(weight.row + i * around, n);
  alignas(64) A even[strip_length], odd[strip_length];
  for (int c = 0; c < channels; ++c)
    for (int i = 0; i < 2; ++i) {
      combine(weight.row + 2 * i * around, coarse.row[c], n, even);
      combine(weight.row + (2 * i + 1) * around, coarse.row[c], n, odd);
      interleave(even, odd, n, p.out + (((b * channels + c) * p.H + y) * 2 + i) * 2 * p.W + 2 * x);
    }
}

}  // namespace

Tensor convex_upsample_cpu(const Tensor& state, const Tensor& logits, const Tensor& prior) {
  STD_TORCH_CHECK(state.dim() == 4, "state must be (B, 6, h, w)");
  const ScalarType dtype = state.scalar_type();
  STD_TORCH_CHECK(dtype == accumulate_dtype(dtype), "state must be float32 or float64");
  const int64_t B = state.size(0), H = state.size(2), W = state.size(3);
  check_tensor("state", state, {B, channels, H, W}, dtype);
  const ScalarType features = logits.scalar_type();
  STD_TORCH_CHECK(accumulate_dtype(features) == dtype, "logits have the wrong dtype");
  check_tensor("logits", logits, {B, weights, H, W}, features);
  check_tensor("prior", prior, {weights}, prior.scalar_type());
  Tensor out = empty({B, channels, 2 * H, 2 * W}, state, dtype, MemoryFormat::Contiguous);
  if (state.numel() == 0) return out;
  dispatch_feature_type(features, [&](auto number) {
    using T = decltype(number);
    using A = Wide<T>;
    const std::vector<A> wide_prior = to_vector<A>(prior);
    const Arguments<T> p{B,
                         H,
                         W,
                         StridedMap<A>(state),
                         StridedMap<T>(logits),
                         wide_prior.data(),
                         static_cast<A*>(out.mutable_data_ptr())};
    for_rows(B, H, 4 * around * W, [&](int64_t b, int64_t y) {
      for (int64_t x = 0; x < W; x += strip_length)
        compute_strip(p, b, y, x, strip_size(x, W));
    });
  });
  return out;
}

}  // namespace lift
