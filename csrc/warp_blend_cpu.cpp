// warp and warp_blend on the CPU, forward and backward.
//
// A strip of up to 64 pixels of a row has its offsets, fractions and weights computed once, then every channel passes over it. What is
// added into an image's gradient at one place is added by one thread, in the order of the pixels, so a gradient's bits depend on
// neither the number of threads nor chance. Everything below `Problem` knows one image (warp) or two (warp_blend) as N.
#include "warp_blend_cpu.h"

#include <torch/csrc/stable/ops.h>
#include <torch/headeronly/core/ScalarType.h>
#include <torch/headeronly/util/BFloat16.h>
#include <torch/headeronly/util/Exception.h>
#include <torch/headeronly/util/Half.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <limits>
#include <optional>
#include <vector>

#include "warp.h"

#define LIFT_SIMD _Pragma("omp simd")

namespace lift {
namespace {

using torch::headeronly::MemoryFormat;
using torch::headeronly::ScalarType;
using torch::stable::get_num_threads;
using torch::stable::parallel_for;

constexpr int strip_length = 64;
constexpr int64_t least_work = 16384;  // values a thread should have to itself before another one helps

std::atomic<bool> wide_offsets_forced{false};

// -- what is given ---------------------------------------------------------------------------------------------------------------------

// A per-pixel tensor (B, channels, H, W), wherever it lies.
template <typename A>
struct Field {
  const A* data = nullptr;
  int64_t batch = 0, channel = 0, row = 0, column = 0;

  // n values of a row from column x on, side by side: in place where they lie so, else copied.
  const A* strip(int64_t b, int64_t c, int64_t y, int64_t x, int n, A* copy) const {
    const A* from = data + b * batch + c * channel + y * row + x * column;
    if (column == 1) return from;
    for (int k = 0; k < n; ++k) copy[k] = from[k * column];
    return copy;
  }
};

// I: type of the images, A: of flow, visibility and arithmetic.
template <typename I, typename A, int N>
struct Problem {
  int64_t B, C, H, W;
  bool channels_last;  // the layout of all images and of grad
  const I* image[N];
  Field<A> flow[N];
  Field<A> occ[N];  // N == 2 only

  // Distance of neighbouring channels of a pixel; of neighbouring pixels; of images.
  int64_t channel() const { return channels_last ? 1 : H * W; }
  int64_t pixel() const { return channels_last ? C : 1; }
  int64_t image_size() const { return C * H * W; }
};

// -- a strip of pixels -----------------------------------------------------------------------------------------------------------------

// Where the pixels of a strip read image i, as offsets in a plane, and how much of it they take.
template <typename A, typename Offset, int N>
struct alignas(64) Strip {
  int n;
  int32_t north[N][strip_length];  // row of the northern corners
  Offset nw[N][strip_length], ne[N][strip_length], sw[N][strip_length], se[N][strip_length];
  A fx[N][strip_length], fy[N][strip_length];
  A weight[N][strip_length], slope[N][strip_length];
  unsigned char inside_x[N][strip_length], inside_y[N][strip_length];

  template <typename I>
  void read(const Problem<I, A, N>& p, int64_t b, int64_t y, int64_t x) {
    n = static_cast<int>(std::min<int64_t>(strip_length, p.W - x));
    for (int i = 0; i < N; ++i) locate(p, i, b, static_cast<int32_t>(y), static_cast<int32_t>(x));
    weigh(p, b, y, x);
  }

 private:
  template <typename I>
  void locate(const Problem<I, A, N>& p, int i, int64_t b, int32_t y, int32_t x) {
    alignas(64) A copy_u[strip_length], copy_v[strip_length];
    const A* u = p.flow[i].strip(b, 0, y, x, n, copy_u);
    const A* v = p.flow[i].strip(b, 1, y, x, n, copy_v);
    const int32_t W = static_cast<int32_t>(p.W), H = static_cast<int32_t>(p.H);
    const int count = n;
    LIFT_SIMD
    for (int k = 0; k < count; ++k) {
      const Tap<A> across = tap(x + k, u[k], W), down = tap(y, v[k], H);
      const Offset place = static_cast<Offset>(down.low) * W + across.low;
      const Offset below = static_cast<Offset>(down.step) * W;
      north[i][k] = down.low;
      nw[i][k] = place;
      ne[i][k] = place + across.step;
      sw[i][k] = place + below;
      se[i][k] = place + below + across.step;
      fx[i][k] = across.fraction;
      fy[i][k] = down.fraction;
      inside_x[i][k] = across.inside;
      inside_y[i][k] = down.inside;
    }
  }

  template <typename I>
  void weigh(const Problem<I, A, N>& p, int64_t b, int64_t y, int64_t x) {
    const int count = n;
    if constexpr (N == 1) {
      for (int k = 0; k < count; ++k) weight[0][k] = 1;
    } else {
      alignas(64) A copy0[strip_length], copy1[strip_length];
      const A* occ0 = p.occ[0].strip(b, 0, y, x, n, copy0);
      const A* occ1 = p.occ[1].strip(b, 0, y, x, n, copy1);
      LIFT_SIMD
      for (int k = 0; k < count; ++k) {
        const Blend<A> blended = blend(occ0[k], occ1[k]);
        weight[0][k] = blended.weight[0];
        weight[1][k] = blended.weight[1];
        slope[0][k] = blended.slope[0];
        slope[1][k] = blended.slope[1];
      }
    }
  }
};

// The shares of the four corners in each pixel of the result.
template <typename A, int N>
struct alignas(64) Shares {
  A nw[N][strip_length], ne[N][strip_length], sw[N][strip_length], se[N][strip_length];

  template <typename Offset>
  explicit Shares(const Strip<A, Offset, N>& s) {
    const int count = s.n;
    for (int i = 0; i < N; ++i) {
      LIFT_SIMD
      for (int k = 0; k < count; ++k) {
        const A east = s.fx[i][k], west = A(1) - east;
        const A south = s.fy[i][k] * s.weight[i][k], north = (A(1) - s.fy[i][k]) * s.weight[i][k];
        nw[i][k] = north * west;
        ne[i][k] = north * east;
        sw[i][k] = south * west;
        se[i][k] = south * east;
      }
    }
  }
};

// Rows of all images, shared out among the threads.
template <typename I, typename A, int N, typename F>
void for_each_row(const Problem<I, A, N>& p, const F& work) {
  const int64_t grain = std::max<int64_t>(1, least_work / std::max<int64_t>(1, p.W * p.C));
  parallel_for(0, p.B * p.H, grain, [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) work(row / p.H, row % p.H);
  });
}

// -- forward ---------------------------------------------------------------------------------------------------------------------------

template <typename I, typename A, typename Offset, int N>
void mix_planar(const Problem<I, A, N>& p, const Strip<A, Offset, N>& s, const Shares<A, N>& share, int64_t b, int64_t start, I* out) {
  const int64_t plane = p.H * p.W;
  for (int64_t c = 0; c < p.C; ++c) {
    const I* __restrict from0 = p.image[0] + b * p.image_size() + c * plane;
    const I* __restrict from1 = p.image[N - 1] + b * p.image_size() + c * plane;
    I* __restrict to = out + b * p.image_size() + c * plane + start;
    const int count = s.n;
    LIFT_SIMD
    for (int k = 0; k < count; ++k) {
      A sum = share.nw[0][k] * A(from0[s.nw[0][k]]) + share.ne[0][k] * A(from0[s.ne[0][k]]) + share.sw[0][k] * A(from0[s.sw[0][k]]) +
              share.se[0][k] * A(from0[s.se[0][k]]);
      if constexpr (N == 2)
        sum += share.nw[1][k] * A(from1[s.nw[1][k]]) + share.ne[1][k] * A(from1[s.ne[1][k]]) + share.sw[1][k] * A(from1[s.sw[1][k]]) +
               share.se[1][k] * A(from1[s.se[1][k]]);
      to[k] = static_cast<I>(sum);
    }
  }
}

template <typename I, typename A, typename Offset, int N>
void mix_channels_last(const Problem<I, A, N>& p, const Strip<A, Offset, N>& s, const Shares<A, N>& share, int64_t b, int64_t start,
                       I* out) {
  const int64_t C = p.C;
  const I* from0 = p.image[0] + b * p.image_size();
  const I* from1 = p.image[N - 1] + b * p.image_size();
  I* to = out + b * p.image_size() + start * C;
  for (int k = 0; k < s.n; ++k, to += C) {
    const I *nw0 = from0 + s.nw[0][k] * C, *ne0 = from0 + s.ne[0][k] * C, *sw0 = from0 + s.sw[0][k] * C, *se0 = from0 + s.se[0][k] * C;
    const A a_nw = share.nw[0][k], a_ne = share.ne[0][k], a_sw = share.sw[0][k], a_se = share.se[0][k];
    I* __restrict result = to;
    if constexpr (N == 1) {
      LIFT_SIMD
      for (int64_t c = 0; c < C; ++c)
        result[c] = static_cast<I>(a_nw * A(nw0[c]) + a_ne * A(ne0[c]) + a_sw * A(sw0[c]) + a_se * A(se0[c]));
    } else {
      const I *nw1 = from1 + s.nw[1][k] * C, *ne1 = from1 + s.ne[1][k] * C, *sw1 = from1 + s.sw[1][k] * C, *se1 = from1 + s.se[1][k] * C;
      const A b_nw = share.nw[1][k], b_ne = share.ne[1][k], b_sw = share.sw[1][k], b_se = share.se[1][k];
      LIFT_SIMD
      for (int64_t c = 0; c < C; ++c)
        result[c] = static_cast<I>(a_nw * A(nw0[c]) + a_ne * A(ne0[c]) + a_sw * A(sw0[c]) + a_se * A(se0[c]) + b_nw * A(nw1[c]) +
                                   b_ne * A(ne1[c]) + b_sw * A(sw1[c]) + b_se * A(se1[c]));
    }
  }
}

template <typename I, typename A, typename Offset, int N>
void forward(const Problem<I, A, N>& p, I* out) {
  for_each_row(p, [&](int64_t b, int64_t y) {
    Strip<A, Offset, N> strip;
    for (int64_t x = 0; x < p.W; x += strip_length) {
      strip.read(p, b, y, x);
      const Shares<A, N> share(strip);
      if (p.channels_last)
        mix_channels_last<I, A, Offset, N>(p, strip, share, b, y * p.W + x, out);
      else
        mix_planar<I, A, Offset, N>(p, strip, share, b, y * p.W + x, out);
    }
  });
}

// -- backward: flow and visibility -----------------------------------------------------------------------------------------------------

// Sums over the channels of grad times: the north-west corner, and how the image changes from there to the east, to the south, and the
// change of the one along the other. Differences are taken before they are summed, or large flat values would swamp them.
template <typename A>
struct alignas(64) Sums {
  A corner[strip_length] = {}, east[strip_length] = {}, south[strip_length] = {}, both[strip_length] = {};
};

template <typename I, typename A, typename Offset, int N>
void sum_planar(const Problem<I, A, N>& p, const Strip<A, Offset, N>& s, int i, int64_t b, int64_t start, const I* grad, Sums<A>& sums) {
  const int64_t plane = p.H * p.W;
  const int count = s.n;
  for (int64_t c = 0; c < p.C; ++c) {
    const I* __restrict from = p.image[i] + b * p.image_size() + c * plane;
    const I* __restrict g = grad + b * p.image_size() + c * plane + start;
    LIFT_SIMD
    for (int k = 0; k < count; ++k) {
      const A up = A(g[k]), nw = A(from[s.nw[i][k]]), ne = A(from[s.ne[i][k]]), sw = A(from[s.sw[i][k]]), se = A(from[s.se[i][k]]);
      sums.corner[k] += up * nw;
      sums.east[k] += up * (ne - nw);
      sums.south[k] += up * (sw - nw);
      sums.both[k] += up * ((se - sw) - (ne - nw));
    }
  }
}

template <typename I, typename A, typename Offset, int N>
void sum_channels_last(const Problem<I, A, N>& p, const Strip<A, Offset, N>& s, int i, int64_t b, int64_t start, const I* grad,
                       Sums<A>& sums) {
  const int64_t C = p.C;
  const I* from = p.image[i] + b * p.image_size();
  const I* g = grad + b * p.image_size() + start * C;
  for (int k = 0; k < s.n; ++k, g += C) {
    const I *p_nw = from + s.nw[i][k] * C, *p_ne = from + s.ne[i][k] * C, *p_sw = from + s.sw[i][k] * C, *p_se = from + s.se[i][k] * C;
    A corner = 0, east = 0, south = 0, both = 0;
    _Pragma("omp simd reduction(+ : corner, east, south, both)")
    for (int64_t c = 0; c < C; ++c) {
      const A up = A(g[c]), nw = A(p_nw[c]), ne = A(p_ne[c]), sw = A(p_sw[c]), se = A(p_se[c]);
      corner += up * nw;
      east += up * (ne - nw);
      south += up * (sw - nw);
      both += up * ((se - sw) - (ne - nw));
    }
    sums.corner[k] = corner;
    sums.east[k] = east;
    sums.south[k] = south;
    sums.both[k] = both;
  }
}

// dflow[i] (B, 2, H, W) and docc[i] (B, 1, H, W), contiguous; null where not asked for.
template <typename I, typename A, typename Offset, int N>
void backward_fields(const Problem<I, A, N>& p, const I* grad, const std::array<A*, N>& dflow, const std::array<A*, N>& docc) {
  const bool occ_asked = N == 2 && (docc[0] || docc[N - 1]);
  const int64_t plane = p.H * p.W;
  for_each_row(p, [&](int64_t b, int64_t y) {
    Strip<A, Offset, N> strip;
    alignas(64) A warped[N][strip_length];  // sum over the channels of grad times the warped image
    for (int64_t x = 0; x < p.W; x += strip_length) {
      strip.read(p, b, y, x);
      const int count = strip.n;
      const int64_t start = y * p.W + x;
      for (int i = 0; i < N; ++i) {
        if (!dflow[i] && !occ_asked) continue;
        Sums<A> sums;
        if (p.channels_last)
          sum_channels_last<I, A, Offset, N>(p, strip, i, b, start, grad, sums);
        else
          sum_planar<I, A, Offset, N>(p, strip, i, b, start, grad, sums);
        LIFT_SIMD
        for (int k = 0; k < count; ++k) {
          const A fx = strip.fx[i][k], fy = strip.fy[i][k];
          warped[i][k] = sums.corner[k] + fx * sums.east[k] + fy * (sums.south[k] + fx * sums.both[k]);
        }
        if (!dflow[i]) continue;
        A* __restrict dx = dflow[i] + 2 * b * plane + start;
        A* __restrict dy = dx + plane;
        LIFT_SIMD
        for (int k = 0; k < count; ++k) {
          dx[k] = strip.inside_x[i][k] ? strip.weight[i][k] * (sums.east[k] + strip.fy[i][k] * sums.both[k]) : A(0);
          dy[k] = strip.inside_y[i][k] ? strip.weight[i][k] * (sums.south[k] + strip.fx[i][k] * sums.both[k]) : A(0);
        }
      }
      if constexpr (N == 2) {
        for (int i = 0; i < 2; ++i) {
          if (!docc[i]) continue;
          A* __restrict d = docc[i] + b * plane + start;
          for (int k = 0; k < count; ++k) d[k] = strip.slope[i][k] * (warped[i][k] - warped[1 - i][k]);
        }
      }
    }
  });
}

// -- backward: images ------------------------------------------------------------------------------------------------------------------

// The pixels of a strip that add into one row of corners, north or south, of a band of rows: pixel `from[e]` adds its gradient times
// `west[e]` at `to[e]`, and times `east[e]` at `to[e] + step[e]`. A run is a stretch in which both pixels and places follow one another.
template <typename A, typename Offset>
struct alignas(64) Additions {
  int n = 0, runs = 0;
  int32_t from[strip_length];
  Offset to[strip_length], beside[strip_length];
  A west[strip_length], east[strip_length];
  int run[strip_length + 1];

  void add(int k, Offset place, Offset neighbour, A share_west, A share_east) {
    if (n == 0 || from[n - 1] != k - 1 || to[n - 1] != place - 1 || beside[n - 1] != neighbour - 1) run[runs++] = n;
    from[n] = k;
    to[n] = place;
    beside[n] = neighbour;
    west[n] = share_west;
    east[n] = share_east;
    ++n;
    run[runs] = n;
  }
};

// All of west before all of east: then a place receives what it does in one order, however rows are divided into bands.
template <typename I, typename A, typename Offset>
void scatter_planar(const Additions<A, Offset>& add, const I* __restrict g, A* __restrict d) {
  if (add.runs * 4 > add.n) {
    for (int e = 0; e < add.n; ++e) d[add.to[e]] += add.west[e] * A(g[add.from[e]]);
    for (int e = 0; e < add.n; ++e) d[add.beside[e]] += add.east[e] * A(g[add.from[e]]);
    return;
  }
  for (int r = 0; r < add.runs; ++r) {
    const int begin = add.run[r], length = add.run[r + 1] - begin;
    const I* __restrict from = g + add.from[begin];
    const A* __restrict share = add.west + begin;
    A* __restrict to = d + add.to[begin];
    LIFT_SIMD
    for (int e = 0; e < length; ++e) to[e] += share[e] * A(from[e]);
  }
  for (int r = 0; r < add.runs; ++r) {
    const int begin = add.run[r], length = add.run[r + 1] - begin;
    const I* __restrict from = g + add.from[begin];
    const A* __restrict share = add.east + begin;
    A* __restrict to = d + add.beside[begin];
    LIFT_SIMD
    for (int e = 0; e < length; ++e) to[e] += share[e] * A(from[e]);
  }
}

template <typename I, typename A, typename Offset>
void scatter_channels_last(const Additions<A, Offset>& add, int64_t C, const I* g, A* d) {
  for (int e = 0; e < add.n; ++e) {
    const I* __restrict from = g + add.from[e] * C;
    A* to_west = d + add.to[e] * C;
    A* to_east = d + add.beside[e] * C;
    const A west = add.west[e], east = add.east[e];
    LIFT_SIMD
    for (int64_t c = 0; c < C; ++c) to_west[c] += west * A(from[c]);
    LIFT_SIMD
    for (int64_t c = 0; c < C; ++c) to_east[c] += east * A(from[c]);
  }
}

// The first and the last row that each row of pixels reads in image i: (B * H) pairs.
template <typename I, typename A, int N>
std::vector<std::array<int32_t, 2>> reach(const Problem<I, A, N>& p, int i) {
  std::vector<std::array<int32_t, 2>> rows(p.B * p.H);
  const int32_t H = static_cast<int32_t>(p.H);
  for_each_row(p, [&](int64_t b, int64_t y) {
    int32_t low = H, high = -1;
    alignas(64) A copy[strip_length];
    for (int64_t x = 0; x < p.W; x += strip_length) {
      const int n = static_cast<int>(std::min<int64_t>(strip_length, p.W - x));
      const A* v = p.flow[i].strip(b, 1, y, x, n, copy);
      _Pragma("omp simd reduction(min : low) reduction(max : high)")
      for (int k = 0; k < n; ++k) {
        const Tap<A> down = tap(static_cast<int32_t>(y), v[k], H);
        low = std::min(low, down.low);
        high = std::max(high, down.low + down.step);
      }
    }
    rows[b * p.H + y] = {low, high};
  });
  return rows;
}

// Rows [first, last) of the gradient of image i of batch entry b, in `d`, the whole gradient.
template <typename I, typename A, typename Offset, int N>
void scatter_band(const Problem<I, A, N>& p, int i, int64_t b, int64_t first, int64_t last, const std::vector<std::array<int32_t, 2>>& rows,
                  const I* grad, A* d) {
  const int64_t plane = p.H * p.W;
  grad += b * p.image_size();
  d += b * p.image_size();
  if (p.channels_last)
    std::fill(d + first * p.W * p.C, d + last * p.W * p.C, A(0));
  else
    for (int64_t c = 0; c < p.C; ++c) std::fill(d + c * plane + first * p.W, d + c * plane + last * p.W, A(0));

  Strip<A, Offset, N> strip;
  for (int64_t y = 0; y < p.H; ++y) {
    if (!rows.empty() && (rows[b * p.H + y][0] >= last || rows[b * p.H + y][1] < first)) continue;
    for (int64_t x = 0; x < p.W; x += strip_length) {
      strip.read(p, b, y, x);
      const Shares<A, N> share(strip);
      Additions<A, Offset> north, south;
      for (int k = 0; k < strip.n; ++k) {
        const int64_t row = strip.north[i][k];
        if (row >= first && row < last) north.add(k, strip.nw[i][k], strip.ne[i][k], share.nw[i][k], share.ne[i][k]);
        const int64_t below = strip.sw[i][k] == strip.nw[i][k] ? row : row + 1;
        if (below >= first && below < last) south.add(k, strip.sw[i][k], strip.se[i][k], share.sw[i][k], share.se[i][k]);
      }
      const int64_t start = y * p.W + x;
      if (p.channels_last) {
        scatter_channels_last(north, p.C, grad + start * p.C, d);
        scatter_channels_last(south, p.C, grad + start * p.C, d);
        continue;
      }
      for (int64_t c = 0; c < p.C; ++c) {
        scatter_planar(north, grad + c * plane + start, d + c * plane);
        scatter_planar(south, grad + c * plane + start, d + c * plane);
      }
    }
  }
}

// dimage[i], the whole gradient of image i in the layout of the images; null where not asked for.
template <typename I, typename A, typename Offset, int N>
void backward_images(const Problem<I, A, N>& p, const I* grad, const std::array<A*, N>& dimage) {
  std::vector<int> asked;
  for (int i = 0; i < N; ++i)
    if (dimage[i]) asked.push_back(i);
  if (asked.empty()) return;
  const int64_t wholes = p.B * static_cast<int64_t>(asked.size());
  const int64_t threads = p.image_size() < least_work ? 1 : static_cast<int64_t>(get_num_threads());
  const int64_t bands = std::clamp<int64_t>((threads + wholes - 1) / wholes, 1, p.H);
  std::array<std::vector<std::array<int32_t, 2>>, N> rows;
  if (bands > 1)
    for (int i : asked) rows[i] = reach(p, i);
  const int64_t grain = std::max<int64_t>(1, least_work * bands / std::max<int64_t>(1, p.image_size()));
  parallel_for(0, wholes * bands, grain, [&](int64_t begin, int64_t end) {
    for (int64_t task = begin; task < end; ++task) {
      const int64_t band = task % bands, b = task / bands % p.B;
      const int i = asked[task / bands / p.B];
      scatter_band<I, A, Offset, N>(p, i, b, band * p.H / bands, (band + 1) * p.H / bands, rows[i], grad, dimage[i]);
    }
  });
}

// -- tensors ---------------------------------------------------------------------------------------------------------------------------

bool contiguous_channels_last(const Tensor& x) {
  int64_t expected = 1;
  for (int d : {1, 3, 2, 0}) {
    if (x.size(d) != 1 && x.stride(d) != expected) return false;
    expected *= x.size(d);
  }
  return true;
}

// The layout that a result takes from an image: channels_last where the image is so and not contiguous too, else contiguous.
MemoryFormat layout(const Tensor& image) {
  return !image.is_contiguous() && contiguous_channels_last(image) ? MemoryFormat::ChannelsLast : MemoryFormat::Contiguous;
}

Tensor arranged(const Tensor& x, MemoryFormat format) {
  const bool fits = format == MemoryFormat::ChannelsLast ? contiguous_channels_last(x) : x.is_contiguous();
  return fits ? x : torch::stable::contiguous(x, format);
}

Tensor room(const Tensor& like, ScalarType dtype, MemoryFormat format) {
  return torch::stable::empty(like.sizes(), dtype, std::nullopt, like.device(), std::nullopt, format);
}

Tensor nothing(const Tensor& like, ScalarType dtype) {
  const std::array<int64_t, 1> none{0};
  return torch::stable::empty({none.data(), 1}, dtype, std::nullopt, like.device());
}

void check_shape(const char* name, const Tensor& x, const Tensor& image, int64_t channels, ScalarType dtype) {
  STD_TORCH_CHECK(x.dim() == 4 && x.size(0) == image.size(0) && x.size(1) == channels && x.size(2) == image.size(2) &&
                      x.size(3) == image.size(3),
                  name, " must be (", image.size(0), ", ", channels, ", ", image.size(2), ", ", image.size(3), ")");
  STD_TORCH_CHECK(x.is_cpu(), name, " must be on the CPU");
  STD_TORCH_CHECK(x.scalar_type() == dtype, name, " has the wrong dtype");
}

ScalarType arithmetic(const Tensor& image) { return image.scalar_type() == ScalarType::Double ? ScalarType::Double : ScalarType::Float; }

template <typename A>
Field<A> field(const Tensor& x) {
  return {static_cast<const A*>(x.const_data_ptr()), x.stride(0), x.stride(1), x.stride(2), x.stride(3)};
}

// The tensors of a call, checked, in the layout of the first image; they keep alive what a Problem points to.
template <int N>
struct Inputs {
  std::array<Tensor, N> images, flows, occs;
  MemoryFormat format;

  Inputs(const std::array<const Tensor*, N>& given_images, const std::array<const Tensor*, N>& given_flows,
         const std::array<const Tensor*, N>& given_occs) {
    const Tensor& first = *given_images[0];
    STD_TORCH_CHECK(first.dim() == 4, "an image must be (B, C, H, W)");
    STD_TORCH_CHECK(first.size(2) <= longest_side && first.size(3) <= longest_side, "an image's sides must be at most ", longest_side);
    format = layout(first);
    const ScalarType dtype = arithmetic(first);
    for (int i = 0; i < N; ++i) {
      check_shape("image", *given_images[i], first, first.size(1), first.scalar_type());
      check_shape("flow", *given_flows[i], first, 2, dtype);
      images[i] = arranged(*given_images[i], format);
      flows[i] = *given_flows[i];
      if (N == 1) continue;
      occs[i] = given_occs[i]->scalar_type() == dtype ? *given_occs[i] : torch::stable::to(*given_occs[i], dtype);
      check_shape("occ", occs[i], first, 1, dtype);
    }
  }

  template <typename I, typename A>
  Problem<I, A, N> problem() const {
    const Tensor& first = images[0];
    Problem<I, A, N> p{first.size(0), first.size(1), first.size(2), first.size(3), format == MemoryFormat::ChannelsLast, {}, {}, {}};
    for (int i = 0; i < N; ++i) {
      p.image[i] = static_cast<const I*>(images[i].const_data_ptr());
      p.flow[i] = field<A>(flows[i]);
      if (N == 2) p.occ[i] = field<A>(occs[i]);
    }
    return p;
  }

  bool empty() const { return images[0].numel() == 0; }

  bool wide() const {
    return wide_offsets_forced || images[0].size(2) * images[0].size(3) > std::numeric_limits<int32_t>::max();
  }
};

// Call work(I, A, Offset) with values of the types that the images need.
template <int N, typename F>
void dispatch(const Inputs<N>& inputs, const F& work) {
  const auto with_offset = [&](auto image, auto arithmetic) {
    if (inputs.wide())
      work(image, arithmetic, int64_t());
    else
      work(image, arithmetic, int32_t());
  };
  switch (inputs.images[0].scalar_type()) {
    case ScalarType::Float: return with_offset(float(), float());
    case ScalarType::Double: return with_offset(double(), double());
    case ScalarType::BFloat16: return with_offset(c10::BFloat16(), float());
    case ScalarType::Half: return with_offset(c10::Half(), float());
    default: STD_TORCH_CHECK(false, "images must be float32, float64, float16 or bfloat16");
  }
}

template <int N>
Tensor forward(const Inputs<N>& inputs) {
  Tensor out = room(inputs.images[0], inputs.images[0].scalar_type(), inputs.format);
  if (!inputs.empty()) {
    dispatch(inputs, [&](auto image, auto arithmetic, auto offset) {
      using I = decltype(image);
      using A = decltype(arithmetic);
      forward<I, A, decltype(offset), N>(inputs.template problem<I, A>(), static_cast<I*>(out.mutable_data_ptr()));
    });
  }
  return out;
}

// Gradients of the images, the flows, the visibilities, in this order; (0,) where bit i of `needs` is not set.
template <int N>
std::array<Tensor, 3 * N> backward(const Tensor& given_grad, const Inputs<N>& inputs, const std::array<const Tensor*, N>& given_images,
                                   int64_t needs) {
  const Tensor& first = inputs.images[0];
  const ScalarType dtype = first.scalar_type(), wide = arithmetic(first);
  check_shape("grad", given_grad, first, first.size(1), dtype);
  const Tensor grad = arranged(given_grad, inputs.format);
  std::array<Tensor, 3 * N> found;
  for (int i = 0; i < 3 * N; ++i) {
    const bool is_image = i < N;
    const Tensor& like = is_image ? first : i < 2 * N ? inputs.flows[i - N] : inputs.occs[N == 2 ? i - 2 * N : 0];
    if (N == 1 && i == 2) continue;
    if (needs >> i & 1)
      found[i] = room(like, wide, is_image ? inputs.format : MemoryFormat::Contiguous);
    else
      found[i] = nothing(like, is_image ? dtype : wide);
  }
  if (!inputs.empty()) {
    dispatch(inputs, [&](auto image, auto arithmetic, auto offset) {
      using I = decltype(image);
      using A = decltype(arithmetic);
      std::array<A*, 3 * N> pointers{};
      for (int i = 0; i < 3 * N; ++i)
        if (needs >> i & 1 && !(N == 1 && i == 2)) pointers[i] = static_cast<A*>(found[i].mutable_data_ptr());
      std::array<A*, N> dimage, dflow, docc;
      for (int i = 0; i < N; ++i) dimage[i] = pointers[i], dflow[i] = pointers[N + i], docc[i] = pointers[2 * N + i];
      const auto problem = inputs.template problem<I, A>();
      const I* g = static_cast<const I*>(grad.const_data_ptr());
      if (std::any_of(pointers.begin() + N, pointers.end(), [](A* pointer) { return pointer != nullptr; }))
        backward_fields<I, A, decltype(offset), N>(problem, g, dflow, docc);
      backward_images<I, A, decltype(offset), N>(problem, g, dimage);
    });
  } else {
    for (int i = N; i < (N == 1 ? 2 : 3 * N); ++i)
      if (needs >> i & 1) torch::stable::zero_(found[i]);  // no channels: nothing depends on flow and visibility
  }
  for (int i = 0; i < N; ++i) {
    if (!(needs >> i & 1)) continue;
    if (wide != dtype) found[i] = torch::stable::to(found[i], dtype);  // summed in float32, rounded once
    found[i] = arranged(found[i], layout(*given_images[i]));
  }
  return found;
}

}  // namespace

// -- operations ------------------------------------------------------------------------------------------------------------------------

Tensor warp_cpu(const Tensor& image, const Tensor& flow) { return forward(Inputs<1>({&image}, {&flow}, {})); }

std::tuple<Tensor, Tensor> warp_backward_cpu(const Tensor& grad, const Tensor& image, const Tensor& flow, int64_t needs) {
  auto found = backward<1>(grad, Inputs<1>({&image}, {&flow}, {}), {&image}, needs & 3);
  return {found[0], found[1]};
}

Tensor warp_blend_cpu(const Tensor& image0, const Tensor& image1, const Tensor& flow0, const Tensor& flow1, const Tensor& occ0,
                      const Tensor& occ1) {
  return forward(Inputs<2>({&image0, &image1}, {&flow0, &flow1}, {&occ0, &occ1}));
}

std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor, Tensor> warp_blend_backward_cpu(
    const Tensor& grad, const Tensor& image0, const Tensor& image1, const Tensor& flow0, const Tensor& flow1, const Tensor& occ0,
    const Tensor& occ1, int64_t needs) {
  auto found = backward<2>(grad, Inputs<2>({&image0, &image1}, {&flow0, &flow1}, {&occ0, &occ1}), {&image0, &image1}, needs);
  return {found[0], found[1], found[2], found[3], found[4], found[5]};
}

void force_wide_offsets(bool force) { wide_offsets_forced = force; }

const char* const processor_features = ""
#if defined(__AVX2__)
    "avx2 "
#endif
#if defined(__FMA__)
    "fma "
#endif
#if defined(__F16C__)
    "f16c "
#endif
#if defined(__AVX512F__)
    "avx512f "
#endif
#if defined(__AVX512VL__)
    "avx512vl "
#endif
#if defined(__AVX512BW__)
    "avx512bw "
#endif
#if defined(__AVX512DQ__)
    "avx512dq "
#endif
    ;

}  // namespace lift
