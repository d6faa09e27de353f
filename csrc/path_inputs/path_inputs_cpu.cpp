// Divided differences of curved paths, and the input of the convolutions that weight them, in one
// pass.
//
// kernels/ops/path_inputs/reference.py defines it. The whole chain of samples of a strip of up to
// 64 pixels is computed while it is in the nearest cache: nothing but the inputs and the outputs
// passes through memory. A gap's side is g % 2, and the gap nearer to the references is g - 2.
// Hidden and the first output, features, may be bfloat16 (T).
#include "path_inputs_cpu.h"

#include <torch/headeronly/util/Exception.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <type_traits>

#include "../common/bfloat16.h"
#include "../common/parallel.h"
#include "../common/path_times.h"
#include "../common/plane_samples.h"
#include "../common/transpose.h"

namespace lift {
namespace {

constexpr int state_channels = 6;
constexpr int transposed_channels = 16;  // of hidden, at a time

template <typename T, typename A = Wide<T>>
struct Arguments {
  int64_t B, C, H, W;
  StridedMap<T> hidden;  // (B, C, H, W)
  StridedMap<A> state;   // (B, 6, H, W)
  Planes<A> motions;     // (B, 2 G, H, W)
  PathTimes<A> path;     // (B, G)
  int columns;           // beside hidden
  A inner, motion, outer;
  T* out;          // (B, H, W, C + columns)
  A* differences;  // (B, G, 2, H, W), contiguous

  int64_t channels() const { return C + columns; }
};

// -- of one image ---------------------------------------------------------------------------------

template <int G, typename A>
struct Path {
  A reach[G];               // of a gap, signed
  bool known[G];            // of a difference
  A inverse[G + 1][G + 1];  // 1 / the time that a difference of order i + 1 spans, in order of time

  Path(const PathTimes<A>& path, int64_t b) {
    A at[G + 2];  // in order of time
    at[G / 2] = A(0), at[G / 2 + 1] = A(1);
    for (int g = 0; g < G; ++g) {
      const A inner = g >= 2 ? path.time(b, g - 2) : A(g), outer = path.time(b, g);
      at[g % 2 ? G / 2 + 2 + g / 2 : G / 2 - 1 - g / 2] = outer;
      reach[g] = outer - inner;
      known[g] = path.known(b, g);
    }
    for (int order = 1; order <= G + 1; ++order)
      for (int i = 0; i + order < G + 2; ++i)
        inverse[order - 1][i] = A(1) / (at[i + order] - at[i]);
  }
};

// -- the chain of samples -------------------------------------------------------------------------

// Not inlined, as the next ones: GCC vectorises each loop alone.
template <typename A>
__attribute__((noinline)) void subtract(const A* __restrict a, const A* __restrict b, int n,
                                        A* __restrict to) {
  LIFT_SIMD
  for (int k = 0; k < n; ++k) to[k] = a[k] - b[k];
}

template <typename A>
__attribute__((noinline)) void advance(const A* __restrict flow, const A* __restrict speed, A reach,
                                       int n, A* __restrict to) {
  LIFT_SIMD
  for (int k = 0; k < n; ++k) to[k] = flow[k] + reach * speed[k];
}

// The flow to a gap's outer frame and the velocity in the gap, of its motion and the flow to its
// inner frame.
template <typename A>
__attribute__((noinline)) void pass_gap(const A* __restrict motion, A reach, int n,
                                        A* __restrict speed, A* __restrict flow) {
  const A time = reach < A(0) ? -reach : reach;
  LIFT_SIMD
  for (int k = 0; k < n; ++k) {
    speed[k] = motion[k] / time;
    flow[k] += reach * speed[k];
  }
}

// The motion of each gap along the paths of n pixels from (x, y) on, dx and dy side by side, and
// last that between the references.
template <int G, typename I, typename T, typename A = Wide<T>>
void sample_gaps(const Arguments<T>& p, const Path<G, A>& path, int64_t b, int64_t y, int64_t x,
                 int n, Strip<A> (*motion)[2]) {
  alignas(64) A flow[2][2][strip_length], speed[2][2][strip_length], half_way[2][strip_length];
  for (int c = 0; c < 4; ++c) {
    A* const to = flow[c / 2][c % 2];
    const A* const from = p.state.load_strip(b, c, y, x, n, to);
    if (from != to) std::copy_n(from, n, to);
  }
  for (int c = 0; c < 2; ++c) {
    subtract(flow[1][c], flow[0][c], n, motion[G][c]);
    for (int side = 0; side < 2; ++side) std::copy_n(motion[G][c], n, speed[side][c]);
  }
  const int64_t stride = p.motions.stride_y;
  const A* const planes = p.motions.data + b * p.motions.stride_b;
  for (int g = 0; g < G; ++g) {
    const int side = g % 2;
    for (int c = 0; c < 2; ++c)
      advance(flow[side][c], speed[side][c], path.reach[g] / 2, n, half_way[c]);
    const PlaneSamples<A, I> at(half_way[0], half_way[1], y, x, n, p.H, p.W, stride);
    // For a single row the southern one is the same.
    const int64_t south = p.H > 1 ? stride : 0;
    for (int c = 0; c < 2; ++c) {
      const A* const plane = planes + (2 * g + c) * p.motions.stride_c;
      sample_strip(plane, south, at, n, motion[g][c]);
      if (g + 2 < G) pass_gap(motion[g][c], path.reach[g], n, speed[side][c], flow[side][c]);
    }
  }
}

// -- divided differences --------------------------------------------------------------------------

// Of one component, by gap; of motions by gap and between the references.
template <int G, typename A>
__attribute__((noinline)) void divide_differences(const Path<G, A>& path,
                                                  const A* const (&motion)[G + 1], int n,
                                                  A* const (&to)[G]) {
  using V = Vec<A, max_lanes<A>>;
  constexpr ActiveLanes<max_lanes<A>, max_lanes<A>> lanes;
  for (int k = 0; k < n; k += max_lanes<A>) {
    V values[G + 1];  // in order of time
    for (int g = 0; g <= G; ++g) {
      const int i = g == G ? G / 2 : g % 2 ? G / 2 + 1 + g / 2 : G / 2 - 1 - g / 2;
      values[i] = load(motion[g] + k, lanes) * path.inverse[0][i];
    }
    for (int order = 2; order <= G + 1; ++order) {
      const int count = G + 2 - order;
      for (int i = 0; i < count; ++i)
        values[i] = (values[i + 1] - values[i]) * path.inverse[order - 1][i];
      if (order % 2 == 0) {
        store<A>(to[order - 2] + k, values[count / 2 - 1], lanes);
        store<A>(to[order - 1] + k, values[count / 2], lanes);
      }
    }
  }
}

template <typename A>
__attribute__((noinline)) void scaled(const A* __restrict from, int n, A scale, A* __restrict to) {
  LIFT_SIMD
  for (int k = 0; k < n; ++k) to[k] = scale * from[k];
}

// Divided differences of n pixels from (x, y) on, and the columns beside hidden.
template <int G, typename I, typename T, typename A = Wide<T>>
void compute_columns(const Arguments<T>& p, const Path<G, A>& path, int64_t b, int64_t y, int64_t x,
                     int n, Strip<A>* columns) {
  // Zero, since vectors pass the end of a strip.
  alignas(64) A motion[G + 1][2][strip_length] = {}, difference[G][strip_length];
  sample_gaps<G, I>(p, path, b, y, x, n, motion);
  for (int c = 0; c < 2; ++c) {
    const A* of[G + 1];
    A* to[G];
    for (int g = 0; g <= G; ++g) of[g] = motion[g][c];
    for (int g = 0; g < G; ++g) to[g] = difference[g];
    divide_differences<G, A>(path, of, n, to);
    for (int g = 0; g < G; ++g) {
      if (!path.known[g]) std::fill_n(difference[g], n, A(0));
      std::copy_n(difference[g], n, p.differences + (((b * G + g) * 2 + c) * p.H + y) * p.W + x);
      scaled(difference[g], n, g < 2 ? p.inner : p.outer, columns[2 * g + c + (g < 2 ? 0 : 2)]);
    }
    scaled(motion[G][c], n, p.motion, columns[4 + c]);
  }
}

// -- hidden ---------------------------------------------------------------------------------------

// What is copied in place of features: integers, of which a vector has twice as many.
template <typename T>
using Copied = std::conditional_t<std::is_same_v<T, BFloat16>, uint16_t, T>;

template <typename T, typename A = Wide<T>>
void write_hidden(const Arguments<T>& p, int64_t b, int64_t y, int64_t x, int n, T* to) {
  const StridedMap<T>& map = p.hidden;
  if (map.stride_c == 1) {
    using N = Copied<T>;
    const T* const from = map.data + b * map.stride_b + y * map.stride_y + x * map.stride_x;
    for (int k = 0; k < n; ++k) {
      const N* const pixel = reinterpret_cast<const N*>(from + k * map.stride_x);
      N* const copy = reinterpret_cast<N*>(to + k * p.channels());
      for_channels<N>(p.C, [&](auto lanes, int64_t c) {
        store<N>(copy + c, load(pixel + c, lanes), lanes);
      });
    }
    return;
  }
  alignas(64) A planes[transposed_channels][strip_length] = {};
  for (int64_t first = 0; first < p.C; first += transposed_channels) {
    const int count = static_cast<int>(std::min<int64_t>(transposed_channels, p.C - first));
    for (int c = 0; c < count; ++c) {
      const A* const from = map.load_wide_strip(b, first + c, y, x, n, planes[c]);
      if (from != planes[c]) std::copy_n(from, n, planes[c]);
    }
    write_transposed<T>(planes, count, n, p.channels(), to + first);
  }
}

// -- the result -----------------------------------------------------------------------------------

template <int G, typename I, typename T, typename A = Wide<T>>
void compute_row(const Arguments<T>& p, int64_t b, int64_t y) {
  const Path<G, A> path(p.path, b);
  // The columns of gaps from G on, and those up to a multiple of four, stay zero.
  alignas(64) A columns[(2 + 2 * most_gaps + 3) / 4 * 4][strip_length] = {};
  for (int64_t x = 0; x < p.W; x += strip_length) {
    const int n = strip_size(x, p.W);
    T* const to = p.out + ((b * p.H + y) * p.W + x) * p.channels();
    write_hidden(p, b, y, x, n, to);
    compute_columns<G, I>(p, path, b, y, x, n, columns);
    write_transposed<T>(columns, p.columns, n, p.channels(), to + p.C);
  }
}

template <typename I, typename T>
void path_inputs(const Arguments<T>& p, int64_t G) {
  const auto compute = G == 2   ? compute_row<2, I, T>
                       : G == 4 ? compute_row<4, I, T>
                                : compute_row<6, I, T>;
  for_rows(p.B, p.H, p.channels() * p.W, [&](int64_t b, int64_t y) { compute(p, b, y); });
}

}  // namespace

std::tuple<Tensor, Tensor> path_inputs_cpu(const Tensor& hidden, const Tensor& state,
                                           const Tensor& motions, const Tensor& times,
                                           const Tensor& valid, int64_t gaps,
                                           std::vector<double> factors, ScalarType dtype) {
  STD_TORCH_CHECK(hidden.dim() == 4, "hidden must be (B, C, h, w)");
  STD_TORCH_CHECK(motions.dim() == 5, "motions must be (B, G, 2, h, w)");
  const ScalarType maps = accumulate_dtype(dtype);
  const int64_t B = hidden.size(0), C = hidden.size(1), H = hidden.size(2), W = hidden.size(3);
  const int64_t G = motions.size(1);
  STD_TORCH_CHECK(H <= max_side && W <= max_side, "sides must be at most ", max_side);
  STD_TORCH_CHECK(G <= gaps && gaps <= most_gaps, "gaps must be ", G, " to ", most_gaps);
  STD_TORCH_CHECK(factors.size() == 3, "there must be three factors");
  check_path_times(times, valid, B, G, maps);
  check_tensor("hidden", hidden, {B, C, H, W}, dtype);
  check_tensor("state", state, {B, state_channels, H, W}, maps);
  check_tensor("motions", motions, {B, G, 2, H, W}, maps);
  const int columns = static_cast<int>(2 + 2 * gaps);
  const Tensor out = empty({B, C + columns, H, W}, hidden, dtype, MemoryFormat::ChannelsLast);
  const Tensor differences = torch::stable::new_empty(motions, motions.sizes());
  if (state.numel() == 0) return {out, differences};
  dispatch_feature_type(dtype, [&](auto number) {
    using T = decltype(number);
    using A = Wide<T>;
    const Arguments<T> p{B,
                         C,
                         H,
                         W,
                         StridedMap<T>(hidden),
                         StridedMap<A>(state),
                         Planes<A>(torch::stable::flatten(motions, 1, 2)),
                         PathTimes<A>(times, valid),
                         columns,
                         A(factors[0]),
                         A(factors[1]),
                         A(factors[2]),
                         static_cast<T*>(out.mutable_data_ptr()),
                         static_cast<A*>(differences.mutable_data_ptr())};
    if (p.motions.span(H, W) <= std::numeric_limits<int32_t>::max())
      path_inputs<int32_t>(p, G);
    else
      path_inputs<int64_t>(p, G);
  });
  return {out, differences};
}

}  // namespace lift
