// One pass of the propagation of flows.
//
// kernels/ops/propagate/reference.py defines it. It goes over the rows once: how much the images
// differ by each of the five fields of flows is computed row by row, of which five rows are kept;
// these give the costs, weights and flows of a row. Every sum is direct: a running sum would carry
// its rounding along. Threads divide the rows of the result and compute the rows around theirs
// again, so a result does not depend on the number of threads. The gradient of a pixel's flows is
// summed over the pixels that read them.
#include "propagate_cpu.h"

#include <torch/headeronly/util/Exception.h>

#include <algorithm>
#include <cstdint>
#include <limits>
#include <tuple>
#include <vector>

#include "../common/exp.h"
#include "../common/parallel.h"
#include "../common/plane_samples.h"
#include "../common/simd.h"
#include "../common/strip.h"
#include "../common/tensors.h"

namespace lift {
namespace {

// As in reference.py.
constexpr int radius = 2;  // of the window
constexpr int taps = 2 * radius + 1;
constexpr double temperature = 0.002;
constexpr int fields = 5;
constexpr int direction_x[fields] = {0, 1, 0, -1, 0}, direction_y[fields] = {0, 0, 1, 0, -1};

constexpr int flow_channels = 4, state_channels = 6;

template <typename A>
struct Arguments {
  int64_t B, h, w, distance;
  StridedMap<A> state;  // (B, 6, h, w)
  Planes<A> luma[2];    // (B, 1, 2 h, 2 w)
  A* out;               // (B, 6, h, w), contiguous
  A* weights;           // (B, fields, h, w), contiguous; null where not needed
};

// The columns x of a row whose pixel x + shift is inside: [begin, end).
struct Columns {
  int64_t begin, end;

  Columns(int64_t shift, int64_t w)
      : begin(std::clamp<int64_t>(-shift, 0, w)), end(std::clamp<int64_t>(w - shift, 0, w)) {}
};

// Row buffers of one thread. A plane of a row has `pad` values on both sides.
template <typename A>
struct Rows {
  static constexpr int64_t pad = 16;
  const int64_t stride;
  std::vector<A> flow, difference, summed, cost, inside;

  explicit Rows(int64_t w)
      : stride((w + 3 * pad - 1) / pad * pad),
        flow(fields * flow_channels * stride),
        difference(stride),
        summed(taps * fields * stride),
        cost(fields * stride),
        inside(stride) {
    for (int64_t x = 0; x < w; ++x)  // how many pixels of a row are in the window
      inside[x] = A(std::min(x + radius, w - 1) - std::max<int64_t>(x - radius, 0) + 1);
  }

  A* flows(int field) { return flow.data() + field * flow_channels * stride; }
  // Differences of a field, summed over the window horizontally.
  A* summed_row(int64_t y, int field) {
    return summed.data() + (y % taps * fields + field) * stride;
  }
};

// The flows of a field in row y: four planes.
template <typename A>
void load_field(const Arguments<A>& p, int64_t b, int64_t y, int field, Rows<A>& rows) {
  const int64_t moved = y + direction_y[field] * p.distance;
  const int64_t row = moved >= 0 && moved < p.h ? moved : y;
  const int64_t shift = direction_x[field] * p.distance, step = p.state.stride_x;
  const Columns inside(shift, p.w);
  for (int c = 0; c < flow_channels; ++c) {
    const A* const from =
        p.state.data + b * p.state.stride_b + c * p.state.stride_c + row * p.state.stride_y;
    A* const to = rows.flows(field) + c * rows.stride;
    const auto copy = [&](int64_t begin, int64_t end, int64_t shift) {
      if (step == 1)
        std::copy(from + begin + shift, from + end + shift, to + begin);
      else
        for (int64_t x = begin; x < end; ++x) to[x] = from[(x + shift) * step];
    };
    copy(0, inside.begin, 0);
    copy(inside.begin, inside.end, shift);
    copy(inside.end, p.w, 0);
  }
}

// Flows of the pixels of a strip of the images, which have twice the resolution.
template <typename A>
void enlarge(const A* __restrict flow, int n, A* __restrict to) {
  for (int k = 0; k < n; ++k) to[k] = A(2) * flow[k / 2];
}

template <typename A>
__attribute__((noinline)) void add_differences(const A* __restrict image0,
                                               const A* __restrict image1, int n,
                                               A* __restrict to) {
  LIFT_SIMD
  for (int k = 0; k < n; ++k) {
    const A d = image1[k] - image0[k];
    to[k] += d < A(0) ? -d : d;
  }
}

// How much the images differ by the flows of a field, in row y.
template <typename A, typename I>
void compare_row(const Arguments<A>& p, int64_t b, int64_t y, int field, Rows<A>& rows) {
  const int64_t H = 2 * p.h, W = 2 * p.w;
  const A* const flows = rows.flows(field);
  A* const differences = rows.difference.data() + Rows<A>::pad;
  for (int64_t x = 0; x < W; x += strip_length) {
    const int n = strip_size(x, W);
    alignas(64) A flow[flow_channels][strip_length], warped[2][strip_length];
    alignas(64) A difference[strip_length] = {};
    for (int c = 0; c < flow_channels; ++c) enlarge(flows + c * rows.stride + x / 2, n, flow[c]);
    for (int64_t row = 2 * y; row < 2 * y + 2; ++row) {
      for (int i = 0; i < 2; ++i) {
        const Planes<A>& luma = p.luma[i];
        const PlaneSamples<A, I> at(flow[2 * i], flow[2 * i + 1], row, x, n, H, W, luma.stride_y);
        sample_strip(luma.data + b * luma.stride_b, luma.stride_y, at, n, warped[i]);
      }
      add_differences(warped[0], warped[1], n, difference);
    }
    for (int k = 0; k < n / 2; ++k)
      differences[x / 2 + k] = (difference[2 * k] + difference[2 * k + 1]) * A(0.25);
  }
  for (int i = 1; i <= radius; ++i) differences[-i] = differences[p.w - 1 + i] = A(0);
  A* const __restrict to = rows.summed_row(y, field);
  LIFT_SIMD
  for (int64_t x = 0; x < p.w; ++x)
    to[x] = (differences[x - 2] + differences[x + 2]) + (differences[x - 1] + differences[x + 1]) +
            differences[x];
}

// The costs of a field in row y. The rows around it are compared.
template <typename A>
void add_rows(const Arguments<A>& p, int64_t y, int field, Rows<A>& rows) {
  const int64_t first = std::max<int64_t>(y - radius, 0), last = std::min(y + radius, p.h - 1);
  A* const __restrict cost = rows.cost.data() + field * rows.stride;
  std::fill_n(cost, p.w, A(0));
  for (int64_t row = first; row <= last; ++row) {
    const A* const __restrict summed = rows.summed_row(row, field);
    LIFT_SIMD
    for (int64_t x = 0; x < p.w; ++x) cost[x] += summed[x];
  }
  const A* const __restrict inside = rows.inside.data();
  const A count = A(last - first + 1);
  LIFT_SIMD
  for (int64_t x = 0; x < p.w; ++x) cost[x] /= count * inside[x];
}

// Weights from the costs of a row, in their place. Planes of a row have `stride` values.
template <typename A>
__attribute__((noinline)) void weigh(A* cost, int64_t stride, int64_t w) {
  A *const __restrict c0 = cost, *const __restrict c1 = cost + stride,
              *const __restrict c2 = cost + 2 * stride, *const __restrict c3 = cost + 3 * stride,
              *const __restrict c4 = cost + 4 * stride;
  const A scale = A(1 / temperature);
  LIFT_SIMD
  for (int64_t x = 0; x < w; ++x) {
    A least = c0[x] < c1[x] ? c0[x] : c1[x];
    least = least < c2[x] ? least : c2[x];
    least = least < c3[x] ? least : c3[x];
    least = least < c4[x] ? least : c4[x];
    const A w0 = exp_neg((least - c0[x]) * scale), w1 = exp_neg((least - c1[x]) * scale),
            w2 = exp_neg((least - c2[x]) * scale), w3 = exp_neg((least - c3[x]) * scale),
            w4 = exp_neg((least - c4[x]) * scale);
    const A inverse = A(1) / ((w0 + w1) + (w2 + w3) + w4);
    c0[x] = w0 * inverse;
    c1[x] = w1 * inverse;
    c2[x] = w2 * inverse;
    c3[x] = w3 * inverse;
    c4[x] = w4 * inverse;
  }
}

// Row y of the result. The rows around it are compared.
template <typename A>
void write_row(const Arguments<A>& p, int64_t b, int64_t y, Rows<A>& rows) {
  for (int field = 0; field < fields; ++field) {
    add_rows(p, y, field, rows);
    load_field(p, b, y, field, rows);
  }
  weigh(rows.cost.data(), rows.stride, p.w);
  if (p.weights)
    for (int field = 0; field < fields; ++field)
      std::copy_n(rows.cost.data() + field * rows.stride, p.w,
                  p.weights + ((b * fields + field) * p.h + y) * p.w);
  A* to = p.out + (b * state_channels * p.h + y) * p.w;
  for (int c = 0; c < state_channels; ++c, to += p.h * p.w) {
    if (c >= flow_channels) {
      const A* const from =
          p.state.data + b * p.state.stride_b + c * p.state.stride_c + y * p.state.stride_y;
      for (int64_t x = 0; x < p.w; ++x) to[x] = from[x * p.state.stride_x];
      continue;
    }
    std::fill_n(to, p.w, A(0));
    for (int field = 0; field < fields; ++field) {
      const A* const __restrict weight = rows.cost.data() + field * rows.stride;
      const A* const __restrict flow = rows.flows(field) + c * rows.stride;
      A* const __restrict sum = to;
      LIFT_SIMD
      for (int64_t x = 0; x < p.w; ++x) sum[x] += weight[x] * flow[x];
    }
  }
}

template <typename A, typename I>
void propagate(const Arguments<A>& p) {
  const int64_t values = p.B * fields * 8 * p.h * p.w;
  for_row_blocks(row_blocks(p.B, p.h, values), values, [&](int64_t, const RowBlock& block) {
    Rows<A> rows(p.w);
    int64_t compared = std::max<int64_t>(block.begin - radius, 0);
    for (int64_t y = block.begin; y < block.end; ++y) {
      for (; compared <= std::min(y + radius, p.h - 1); ++compared)
        for (int field = 0; field < fields; ++field) {
          load_field(p, block.b, compared, field, rows);
          compare_row<A, I>(p, block.b, compared, field, rows);
        }
      write_row(p, block.b, y, rows);
    }
  });
}

// to[x] += weight[x + shift] * grad[x + shift] where that pixel is inside.
template <typename A>
void add_weighted(const A* weight, const A* grad, int64_t shift, int64_t w, A* __restrict to) {
  const Columns inside(shift, w);
  LIFT_SIMD
  for (int64_t x = inside.begin; x < inside.end; ++x) to[x] += weight[x + shift] * grad[x + shift];
}

// Row y of the gradient of the state. `own` has w values.
template <typename A>
void write_gradient_row(const A* grad, const A* weights, int64_t b, int64_t y, int64_t distance,
                        int64_t h, int64_t w, A* __restrict own, A* dstate) {
  const auto grad_row = [&](int c, int64_t row) {
    return grad + ((b * state_channels + c) * h + row) * w;
  };
  const auto weight_row = [&](int field, int64_t row) {
    return weights + ((b * fields + field) * h + row) * w;
  };
  // A pixel reads its own flows as field 0, and as those fields whose pixel is beyond the border.
  std::copy_n(weight_row(0, y), w, own);
  for (int field = 1; field < fields; ++field) {
    const A* const weight = weight_row(field, y);
    const int64_t row = y + direction_y[field] * distance;
    const Columns inside(direction_x[field] * distance, row >= 0 && row < h ? w : 0);
    for (int64_t x = 0; x < inside.begin; ++x) own[x] += weight[x];
    for (int64_t x = inside.end; x < w; ++x) own[x] += weight[x];
  }
  for (int c = 0; c < state_channels; ++c) {
    A* const to = dstate + ((b * state_channels + c) * h + y) * w;
    if (c >= flow_channels) {
      std::copy_n(grad_row(c, y), w, to);
      continue;
    }
    std::fill_n(to, w, A(0));
    add_weighted<A>(own, grad_row(c, y), 0, w, to);
    for (int field = 1; field < fields; ++field) {
      const int64_t row = y - direction_y[field] * distance;
      if (row < 0 || row >= h) continue;
      const int64_t shift = -direction_x[field] * distance;
      add_weighted(weight_row(field, row), grad_row(c, row), shift, w, to);
    }
  }
}

}  // namespace

std::tuple<Tensor, Tensor> propagate_cpu(const Tensor& luma0, const Tensor& luma1,
                                         const Tensor& state, int64_t distance, bool save) {
  STD_TORCH_CHECK(state.dim() == 4 && state.size(1) == state_channels,
                  "state must be (B, 6, h, w)");
  STD_TORCH_CHECK(state.is_cpu(), "state must be on the CPU");
  STD_TORCH_CHECK(distance >= 1, "distance must be at least 1");
  const int64_t B = state.size(0), h = state.size(2), w = state.size(3);
  STD_TORCH_CHECK(std::max(h, w) <= max_side / 2, "a side of the state is too long");
  const ScalarType dtype = state.scalar_type();
  STD_TORCH_CHECK(dtype == accumulate_dtype(dtype), "state must be float32 or float64");
  for (const Tensor* luma : {&luma0, &luma1}) {
    STD_TORCH_CHECK(accumulate_dtype(luma->scalar_type()) == dtype, "state has the wrong dtype");
    check_tensor("luma", *luma, {B, 1, 2 * h, 2 * w}, luma0.scalar_type());
  }
  Tensor out = empty(state, dtype, MemoryFormat::Contiguous);
  Tensor weights = save ? empty({B, fields, h, w}, state, dtype, MemoryFormat::Contiguous)
                        : empty_placeholder(state, dtype);
  if (out.numel() == 0) return {out, weights};
  dispatch_accumulate_type(dtype, [&](auto value) {
    using A = decltype(value);
    const Arguments<A> p{B,
                         h,
                         w,
                         std::min(distance, std::max(h, w)),  // farther is beyond the border too
                         StridedMap<A>(state),
                         {Planes<A>(luma0), Planes<A>(luma1)},
                         static_cast<A*>(out.mutable_data_ptr()),
                         save ? static_cast<A*>(weights.mutable_data_ptr()) : nullptr};
    const int64_t span = std::max(p.luma[0].span(2 * h, 2 * w), p.luma[1].span(2 * h, 2 * w));
    if (span <= std::numeric_limits<int32_t>::max())
      propagate<A, int32_t>(p);
    else
      propagate<A, int64_t>(p);
  });
  return {out, weights};
}

Tensor propagate_backward_cpu(const Tensor& grad, const Tensor& weights, int64_t distance) {
  STD_TORCH_CHECK(grad.dim() == 4 && grad.size(1) == state_channels, "grad must be (B, 6, h, w)");
  STD_TORCH_CHECK(distance >= 1, "distance must be at least 1");
  const int64_t B = grad.size(0), h = grad.size(2), w = grad.size(3);
  const ScalarType dtype = grad.scalar_type();
  STD_TORCH_CHECK(dtype == accumulate_dtype(dtype), "grad must be float32 or float64");
  check_tensor("grad", grad, {B, state_channels, h, w}, dtype);
  check_tensor("weights", weights, {B, fields, h, w}, dtype);
  Tensor dstate = empty(grad, dtype, MemoryFormat::Contiguous);
  const Tensor dense_grad = to_layout(grad, MemoryFormat::Contiguous),
               dense_weights = to_layout(weights, MemoryFormat::Contiguous);
  distance = std::min(distance, std::max(h, w));  // farther is beyond the border too
  dispatch_accumulate_type(dtype, [&](auto value) {
    using A = decltype(value);
    const A* const from = static_cast<const A*>(dense_grad.const_data_ptr());
    const A* const weight = static_cast<const A*>(dense_weights.const_data_ptr());
    A* const to = static_cast<A*>(dstate.mutable_data_ptr());
    for_rows(B, h, fields * state_channels * w, [&](int64_t b, int64_t y) {
      std::vector<A> own(w);
      write_gradient_row(from, weight, b, y, distance, h, w, own.data(), to);
    });
  });
  return dstate;
}

}  // namespace lift
