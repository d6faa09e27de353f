// The gradients where each channel is a plane. A strip that is read along a few straight runs, as a smooth flow is, is worked on by whole
// vectors of pixels; any other gathers, and adds pixel by pixel.
#include <algorithm>
#include <vector>

#include "grid_sample_kernels.h"
#include "rows.h"

namespace lift {
namespace {

using torch::stable::get_num_threads;
using torch::stable::parallel_for;

constexpr unsigned nw = 1, ne = 2, sw = 4, se = 8;  // corners that lie inside the input, as bits

// What the pixels of a strip read and how much of it they take; the same for every channel.
template <typename A>
struct alignas(64) Plan {
  Reads<A> at;
  int32_t place[strip_length];  // of the north-west corner in a plane, wherever it lies
  uint32_t inside[strip_length];
  A share[4][strip_length];
  int32_t lowest, highest;      // rows of north-west corners
  int runs = 0, run[strip_length + 1];  // run r: pixels run[r] to run[r + 1], whose places follow one another, with the same corners inside

  Plan(const Sampling<A>& s, int64_t b, int64_t y, int64_t x) : at(s, b, y, x) {
    const int n = at.n;
    const int32_t H = static_cast<int32_t>(s.H), W = static_cast<int32_t>(s.W);
    const unsigned read = s.mode == Mode::nearest ? nw : nw | ne | sw | se;
    int32_t breaks[strip_length];
    LIFT_SIMD
    for (int k = 0; k < n; ++k) {
      const int32_t row = at.row[k], column = at.column[k];
      const unsigned north = row >= 0 && row < H ? nw | ne : 0, south = row >= -1 && row < H - 1 ? sw | se : 0;
      const unsigned west = column >= 0 && column < W ? nw | sw : 0, east = column >= -1 && column < W - 1 ? ne | se : 0;
      inside[k] = (north | south) & (west | east) & read;
      place[k] = static_cast<int32_t>(static_cast<uint32_t>(row) * W + column);
      const A fx = at.fx[k], fy = at.fy[k];
      share[0][k] = (1 - fx) * (1 - fy);
      share[1][k] = fx * (1 - fy);
      share[2][k] = (1 - fx) * fy;
      share[3][k] = fx * fy;
    }
    LIFT_SIMD
    for (int k = 1; k < n; ++k)
      breaks[k] = at.row[k] != at.row[k - 1] || at.column[k] != at.column[k - 1] + 1 || inside[k] != inside[k - 1];
    int32_t low = at.row[0], high = at.row[0];
    _Pragma("omp simd reduction(min : low) reduction(max : high)")
    for (int k = 0; k < n; ++k) {
      low = std::min(low, at.row[k]);
      high = std::max(high, at.row[k]);
    }
    lowest = low;
    highest = high;
    run[0] = 0;
    for (int k = 1; k < n; ++k)
      if (breaks[k]) run[++runs] = k;
    run[++runs] = n;
  }

  bool smooth() const { return runs * 4 <= at.n; }
};

template <typename A>
struct alignas(64) Totals {
  A east[strip_length] = {}, south[strip_length] = {};
};

// How a plane changes along both axes, times the gradient, added to the totals.
template <typename A>
LIFT_HD void add_change(Totals<A>& totals, int k, A g, A v_nw, A v_ne, A v_sw, A v_se, A fx, A fy) {
  const A north = v_ne - v_nw, both = (v_se - v_sw) - north;
  totals.east[k] += g * (north + fy * both);
  totals.south[k] += g * ((v_sw - v_nw) + fx * both);
}

template <typename A>
void sum_runs(const Plan<A>& plan, const A* plane, int32_t W, const A* __restrict g, Totals<A>& __restrict totals) {
  alignas(64) static const A outside[strip_length] = {};
  for (int r = 0; r < plan.runs; ++r) {
    const int begin = plan.run[r], end = plan.run[r + 1];
    const unsigned inside = plan.inside[begin];
    const A* const start = plane + plan.place[begin];
    const A* const v_nw = (inside & nw ? start : outside) - begin;
    const A* const v_ne = (inside & ne ? start + 1 : outside) - begin;
    const A* const v_sw = (inside & sw ? start + W : outside) - begin;
    const A* const v_se = (inside & se ? start + W + 1 : outside) - begin;
    for_channels<A>(end - begin, [&](auto width, int64_t i) {
      const int64_t k = begin + i;
      const auto up = load(g + k, width), north_west = load(v_nw + k, width), south_west = load(v_sw + k, width);
      const auto north = load(v_ne + k, width) - north_west, both = (load(v_se + k, width) - south_west) - north;
      store<A>(totals.east + k, load(totals.east + k, width) + up * (north + load(plan.at.fy + k, width) * both), width);
      store<A>(totals.south + k, load(totals.south + k, width) + up * ((south_west - north_west) + load(plan.at.fx + k, width) * both), width);
    });
  }
}

template <typename A>
void sum_gathered(const Plan<A>& plan, const A* __restrict plane, int32_t W, const A* __restrict g, Totals<A>& __restrict totals) {
  const int n = plan.at.n;
  LIFT_SIMD
  for (int k = 0; k < n; ++k) {
    const int32_t place = plan.place[k];
    const uint32_t inside = plan.inside[k];
    const A v_nw = plane[inside & nw ? place : 0], v_ne = plane[inside & ne ? place + 1 : 0];
    const A v_sw = plane[inside & sw ? place + W : 0], v_se = plane[inside & se ? place + W + 1 : 0];
    add_change(totals, k, g[k], inside & nw ? v_nw : A(0), inside & ne ? v_ne : A(0), inside & sw ? v_sw : A(0), inside & se ? v_se : A(0),
               plan.at.fx[k], plan.at.fy[k]);
  }
}

// The corners of a place in row `row` that lie in rows [first, last).
unsigned in_band(int32_t row, int32_t first, int32_t last) {
  return (row >= first && row < last ? nw | ne : 0) | (row + 1 >= first && row + 1 < last ? sw | se : 0);
}

template <typename A>
void add_runs(const Plan<A>& plan, const A* __restrict g, int32_t W, int32_t first, int32_t last, A* plane) {
  const int32_t step[4] = {0, 1, W, W + 1};
  for (int r = 0; r < plan.runs; ++r) {
    const int begin = plan.run[r], end = plan.run[r + 1];
    const unsigned inside = plan.inside[begin] & in_band(plan.at.row[begin], first, last);
    for (int corner = 0; corner < 4; ++corner) {
      if (!(inside >> corner & 1)) continue;
      A* const to = plane + plan.place[begin] + step[corner];
      const A* const share = plan.share[corner] + begin;
      const A* const up = g + begin;
      for_channels<A>(end - begin, [&](auto width, int64_t k) {
        store<A>(to + k, load(to + k, width) + load(share + k, width) * load(up + k, width), width);
      });
    }
  }
}

template <typename A>
void add_pixels(const Plan<A>& plan, const A* g, int32_t W, int32_t first, int32_t last, A* plane) {
  constexpr unsigned all = nw | ne | sw | se;
  for (int k = 0; k < plan.at.n; ++k) {
    const unsigned inside = plan.inside[k] & in_band(plan.at.row[k], first, last);
    A* const to = plane + plan.place[k];
    if (inside == all) {
      to[0] += plan.share[0][k] * g[k];
      to[1] += plan.share[1][k] * g[k];
      to[W] += plan.share[2][k] * g[k];
      to[W + 1] += plan.share[3][k] * g[k];
      continue;
    }
    if (inside & nw) to[0] += plan.share[0][k] * g[k];
    if (inside & ne) to[1] += plan.share[1][k] * g[k];
    if (inside & sw) to[W] += plan.share[2][k] * g[k];
    if (inside & se) to[W + 1] += plan.share[3][k] * g[k];
  }
}

// A strip that a task works on.
template <typename A>
struct Part {
  Plan<A> plan;
  Totals<A> totals;
  int64_t start;
  bool own, reached;  // whether the gradient of the grid is this task's; whether some of that of the input is

  Part(const Sampling<A>& s, int64_t b, int64_t y, int64_t x) : plan(s, b, y, x), start(y * s.w + x) {}
};

// Strips that a channel is worked through with before the next one: planes are far apart, and to change often costs the cache.
constexpr size_t block_length = 16;

// Rows [first, last) of the gradient of the input, and rows [top, bottom) of the grid's, of batch entry b.
template <typename A>
void band_of_planes(const Sampling<A>& s, int64_t b, const A* input, const A* grad, A* dinput, int32_t first, int32_t last, A* dgrid,
                    int64_t top, int64_t bottom) {
  const int64_t plane = s.H * s.W, up_plane = s.h * s.w;
  const int32_t W = static_cast<int32_t>(s.W);
  const bool fixed = s.mode == Mode::nearest;
  grad += b * s.C * up_plane;
  if (input) input += b * s.C * plane;
  if (dinput) {
    dinput += b * s.C * plane;
    for (int64_t c = 0; c < s.C; ++c) std::fill(dinput + c * plane + first * s.W, dinput + c * plane + last * s.W, A(0));
  }
  const int64_t begin = dinput ? 0 : top, end = dinput ? s.h : bottom, across = (s.w + strip_length - 1) / strip_length;
  static thread_local std::vector<Part<A>> block;
  block.reserve(block_length);
  for (int64_t strip = begin * across; strip < end * across;) {
    block.clear();
    for (; strip < end * across && block.size() < block_length; ++strip) {
      const int64_t y = strip / across, x = strip % across * strip_length;
      Part<A>& part = block.emplace_back(s, b, y, x);
      part.own = dgrid && y >= top && y < bottom;
      part.reached = dinput && part.plan.lowest < last && part.plan.highest + (fixed ? 0 : 1) >= first;
      if (!part.own && !part.reached) block.pop_back();
    }
    for (int64_t c = 0; c < s.C; ++c) {
      const A* const g = grad + c * up_plane;
      for (Part<A>& part : block) {
        const bool smooth = part.plan.smooth();
        if (part.own) (smooth ? sum_runs<A> : sum_gathered<A>)(part.plan, input + c * plane, W, g + part.start, part.totals);
        if (part.reached) (smooth ? add_runs<A> : add_pixels<A>)(part.plan, g + part.start, W, first, last, dinput + c * plane);
      }
    }
    for (const Part<A>& part : block) {
      if (!part.own) continue;
      const Reads<A>& at = part.plan.at;
      A* __restrict const to = dgrid + (b * up_plane + part.start) * 2;
      const int n = at.n;
      LIFT_SIMD
      for (int k = 0; k < n; ++k) {
        to[2 * k] = at.slope_x[k] * part.totals.east[k];
        to[2 * k + 1] = at.slope_y[k] * part.totals.south[k];
      }
    }
  }
}

}  // namespace

template <typename A>
bool mostly_smooth(const Sampling<A>& s) {
  const int64_t across = (s.w + strip_length - 1) / strip_length, strips = s.B * s.h * across, tried = std::min<int64_t>(strips, 64);
  int64_t smooth = 0;
  for (int64_t i = 0; i < tried; ++i) {
    const int64_t strip = i * strips / tried, row = strip / across;
    const Plan<A> plan(s, row / s.h, row % s.h, strip % across * strip_length);
    smooth += plan.runs * 16 <= plan.at.n;
  }
  return smooth * 2 >= tried;
}

template <typename A>
void grid_sample_backward_planes(const Sampling<A>& s, const A* input, const A* grad, A* dinput, A* dgrid) {
  const int64_t size = std::max(s.H * s.W, s.h * s.w) * s.C;
  const int64_t threads = size < least_work ? 1 : static_cast<int64_t>(get_num_threads());
  const int64_t bands = std::clamp<int64_t>((threads + s.B - 1) / s.B, 1, dinput ? s.H : s.h);
  parallel_for(0, s.B * bands, std::max<int64_t>(1, least_work * bands / size), [&](int64_t begin, int64_t end) {
    for (int64_t task = begin; task < end; ++task) {
      const int64_t band = task % bands, b = task / bands;
      band_of_planes<A>(s, b, input, grad, dinput, static_cast<int32_t>(band * s.H / bands), static_cast<int32_t>((band + 1) * s.H / bands),
                        dgrid, band * s.h / bands, (band + 1) * s.h / bands);
    }
  });
}

template bool mostly_smooth<float>(const Sampling<float>&);
template bool mostly_smooth<double>(const Sampling<double>&);
template void grid_sample_backward_planes<float>(const Sampling<float>&, const float*, const float*, float*, float*);
template void grid_sample_backward_planes<double>(const Sampling<double>&, const double*, const double*, double*, double*);

}  // namespace lift
