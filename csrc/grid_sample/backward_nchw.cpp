// The gradients where each channel is a plane.
//
// A strip that samples a few straight runs of pixels, as with a smooth flow, is processed by
// vectors of pixels. Any other strip gathers, and adds pixel by pixel.
#include <algorithm>
#include <vector>

#include "../common/parallel.h"
#include "kernels.h"

namespace lift {
namespace {

constexpr unsigned nw = 1, ne = 2, sw = 4, se = 8;  // bits for corners that are inside the input

// Where the pixels of a strip sample a plane, and with which weights; the same for all channels.
template <typename A>
struct alignas(64) StripPlan {
  GridCoords<A> at;
  int32_t offset[strip_length];  // of the north-west corner in a plane, even if it is outside
  uint32_t inside[strip_length];
  A weight[4][strip_length];
  int32_t min_y0, max_y0;
  // Run r is pixels run[r] to run[r + 1], whose offsets are consecutive and whose corners inside
  // the input are the same.
  int runs = 0, run[strip_length + 1];

  StripPlan(const GridSampleParams<A>& p, int64_t b, int64_t y, int64_t x) : at(p, b, y, x) {
    const int n = at.n;
    const int32_t H = static_cast<int32_t>(p.H), W = static_cast<int32_t>(p.W);
    const unsigned sampled = p.mode == Mode::nearest ? nw : nw | ne | sw | se;
    int32_t breaks[strip_length];
    LIFT_SIMD
    for (int k = 0; k < n; ++k) {
      const int32_t y0 = at.y0[k], x0 = at.x0[k];
      const unsigned north = y0 >= 0 && y0 < H ? nw | ne : 0;
      const unsigned south = y0 >= -1 && y0 < H - 1 ? sw | se : 0;
      const unsigned west = x0 >= 0 && x0 < W ? nw | sw : 0;
      const unsigned east = x0 >= -1 && x0 < W - 1 ? ne | se : 0;
      inside[k] = (north | south) & (west | east) & sampled;
      offset[k] = static_cast<int32_t>(static_cast<uint32_t>(y0) * W + x0);
      const A fx = at.fx[k], fy = at.fy[k];
      weight[0][k] = (1 - fx) * (1 - fy);
      weight[1][k] = fx * (1 - fy);
      weight[2][k] = (1 - fx) * fy;
      weight[3][k] = fx * fy;
    }
    LIFT_SIMD
    for (int k = 1; k < n; ++k)
      breaks[k] =
          at.y0[k] != at.y0[k - 1] || at.x0[k] != at.x0[k - 1] + 1 || inside[k] != inside[k - 1];
    int32_t low = at.y0[0], high = at.y0[0];
#pragma omp simd reduction(min : low) reduction(max : high)
    for (int k = 0; k < n; ++k) {
      low = std::min(low, at.y0[k]);
      high = std::max(high, at.y0[k]);
    }
    min_y0 = low;
    max_y0 = high;
    run[0] = 0;
    for (int k = 1; k < n; ++k)
      if (breaks[k]) run[++runs] = k;
    run[++runs] = n;
  }

  bool is_smooth() const { return runs * 4 <= at.n; }
};

// -- the gradient of the grid ---------------------------------------------------------------------

// Sums over channels of grad times the derivatives of the samples along x and y.
template <typename A>
struct alignas(64) CoordGrads {
  A dx[strip_length] = {}, dy[strip_length] = {};
};

template <typename A>
void add_coord_grads_by_run(const StripPlan<A>& plan, const A* plane, int32_t W,
                            const A* __restrict grad_out, CoordGrads<A>& __restrict grads) {
  alignas(64) static const A zeros[strip_length] = {};
  for (int r = 0; r < plan.runs; ++r) {
    const int begin = plan.run[r], end = plan.run[r + 1];
    const unsigned inside = plan.inside[begin];
    const A* const start = plane + plan.offset[begin];
    const A* const p_nw = (inside & nw ? start : zeros) - begin;
    const A* const p_ne = (inside & ne ? start + 1 : zeros) - begin;
    const A* const p_sw = (inside & sw ? start + W : zeros) - begin;
    const A* const p_se = (inside & se ? start + W + 1 : zeros) - begin;
    for_channels<A>(end - begin, [&](auto lanes, int64_t i) {
      const int64_t k = begin + i;
      const auto g = load(grad_out + k, lanes);
      const auto v_nw = load(p_nw + k, lanes), v_sw = load(p_sw + k, lanes);
      const auto north = load(p_ne + k, lanes) - v_nw;
      const auto both = (load(p_se + k, lanes) - v_sw) - north;
      const auto dx = g * (north + load(plan.at.fy + k, lanes) * both);
      const auto dy = g * ((v_sw - v_nw) + load(plan.at.fx + k, lanes) * both);
      store<A>(grads.dx + k, load(grads.dx + k, lanes) + dx, lanes);
      store<A>(grads.dy + k, load(grads.dy + k, lanes) + dy, lanes);
    });
  }
}

template <typename A>
void add_coord_grads_by_gather(const StripPlan<A>& plan, const A* __restrict plane, int32_t W,
                               const A* __restrict grad_out, CoordGrads<A>& __restrict grads) {
  const int n = plan.at.n;
  LIFT_SIMD
  for (int k = 0; k < n; ++k) {
    const int32_t offset = plan.offset[k];
    const uint32_t inside = plan.inside[k];
    const A v_nw = plane[inside & nw ? offset : 0], v_ne = plane[inside & ne ? offset + 1 : 0];
    const A v_sw = plane[inside & sw ? offset + W : 0];
    const A v_se = plane[inside & se ? offset + W + 1 : 0];
    const Corners<A> pixel{inside & nw ? v_nw : A(0), inside & ne ? v_ne : A(0),
                           inside & sw ? v_sw : A(0), inside & se ? v_se : A(0)};
    add_coord_grads(grads.dx[k], grads.dy[k], grad_out[k], pixel, plan.at.fx[k], plan.at.fy[k]);
  }
}

// -- the gradient of the input --------------------------------------------------------------------

// The corners of a sample with north-west row y0 that are in rows [first, last).
unsigned corners_in_rows(int32_t y0, int32_t first, int32_t last) {
  const unsigned north = y0 >= first && y0 < last ? nw | ne : 0;
  const unsigned south = y0 + 1 >= first && y0 + 1 < last ? sw | se : 0;
  return north | south;
}

template <typename A>
void scatter_by_run(const StripPlan<A>& plan, const A* __restrict grad_out, int32_t W,
                    int32_t first, int32_t last, A* plane) {
  const int32_t step[4] = {0, 1, W, W + 1};
  for (int r = 0; r < plan.runs; ++r) {
    const int begin = plan.run[r], end = plan.run[r + 1];
    const unsigned inside = plan.inside[begin] & corners_in_rows(plan.at.y0[begin], first, last);
    for (int corner = 0; corner < 4; ++corner) {
      if (!(inside >> corner & 1)) continue;
      A* const to = plane + plan.offset[begin] + step[corner];
      const A* const weight = plan.weight[corner] + begin;
      const A* const g = grad_out + begin;
      for_channels<A>(end - begin, [&](auto lanes, int64_t k) {
        const auto sum = load(to + k, lanes) + load(weight + k, lanes) * load(g + k, lanes);
        store<A>(to + k, sum, lanes);
      });
    }
  }
}

template <typename A>
void scatter_by_pixel(const StripPlan<A>& plan, const A* grad_out, int32_t W, int32_t first,
                      int32_t last, A* plane) {
  constexpr unsigned all = nw | ne | sw | se;
  for (int k = 0; k < plan.at.n; ++k) {
    const unsigned inside = plan.inside[k] & corners_in_rows(plan.at.y0[k], first, last);
    const A g = grad_out[k];
    A* const to = plane + plan.offset[k];
    if (inside == all) {
      to[0] += plan.weight[0][k] * g;
      to[1] += plan.weight[1][k] * g;
      to[W] += plan.weight[2][k] * g;
      to[W + 1] += plan.weight[3][k] * g;
      continue;
    }
    if (inside & nw) to[0] += plan.weight[0][k] * g;
    if (inside & ne) to[1] += plan.weight[1][k] * g;
    if (inside & sw) to[W] += plan.weight[2][k] * g;
    if (inside & se) to[W + 1] += plan.weight[3][k] * g;
  }
}

// -- tasks ----------------------------------------------------------------------------------------

// What a task does with one strip.
template <typename A>
struct StripTask {
  StripPlan<A> plan;
  CoordGrads<A> grads;
  int64_t start;     // of the strip in a plane of the result
  bool needs_dgrid;  // compute the gradient of the strip's grid
  bool adds_dinput;  // add to the task's rows of the gradient of the input

  StripTask(const GridSampleParams<A>& p, int64_t b, int64_t y, int64_t x)
      : plan(p, b, y, x), start(y * p.w + x) {}
};

// Strips that are processed for one channel before the next one:
// planes are far apart in memory, and each change of plane costs cache misses.
constexpr size_t strips_per_group = 16;

// The rows of a task: [first, last) of dinput, and [top, bottom) of dgrid.
struct TaskRows {
  int32_t first, last;
  int64_t top, bottom;
};

// A task's rows of the gradients of batch entry b.
template <typename A>
void backward_rows(const GridSampleParams<A>& p, int64_t b, const TaskRows& rows, const A* input,
                   const A* grad, A* dinput, A* dgrid) {
  const int64_t plane = p.H * p.W, out_plane = p.h * p.w;
  const int32_t W = static_cast<int32_t>(p.W);
  const int corner_rows = p.mode == Mode::nearest ? 1 : 2;
  grad += b * p.C * out_plane;
  if (input) input += b * p.C * plane;
  if (dinput) {
    dinput += b * p.C * plane;
    for (int64_t c = 0; c < p.C; ++c)
      std::fill(dinput + c * plane + rows.first * p.W, dinput + c * plane + rows.last * p.W, A(0));
  }
  const int64_t strips_per_row = (p.w + strip_length - 1) / strip_length;
  const int64_t begin = (dinput ? 0 : rows.top) * strips_per_row;
  const int64_t end = (dinput ? p.h : rows.bottom) * strips_per_row;
  static thread_local std::vector<StripTask<A>> group;
  group.reserve(strips_per_group);
  for (int64_t strip = begin; strip < end;) {
    group.clear();
    for (; strip < end && group.size() < strips_per_group; ++strip) {
      const int64_t y = strip / strips_per_row, x = strip % strips_per_row * strip_length;
      StripTask<A>& task = group.emplace_back(p, b, y, x);
      task.needs_dgrid = dgrid && y >= rows.top && y < rows.bottom;
      task.adds_dinput =
          dinput && task.plan.min_y0 < rows.last && task.plan.max_y0 + corner_rows > rows.first;
      if (!task.needs_dgrid && !task.adds_dinput) group.pop_back();
    }
    for (int64_t c = 0; c < p.C; ++c) {
      for (StripTask<A>& task : group) {
        const A* const grad_out = grad + c * out_plane + task.start;
        const bool smooth = task.plan.is_smooth();
        if (task.needs_dgrid) {
          const auto add = smooth ? add_coord_grads_by_run<A> : add_coord_grads_by_gather<A>;
          add(task.plan, input + c * plane, W, grad_out, task.grads);
        }
        if (task.adds_dinput) {
          const auto scatter = smooth ? scatter_by_run<A> : scatter_by_pixel<A>;
          scatter(task.plan, grad_out, W, rows.first, rows.last, dinput + c * plane);
        }
      }
    }
    for (const StripTask<A>& task : group) {
      if (!task.needs_dgrid) continue;
      const GridCoords<A>& at = task.plan.at;
      A* __restrict const to = dgrid + (b * out_plane + task.start) * 2;
      const int n = at.n;
      LIFT_SIMD
      for (int k = 0; k < n; ++k) {
        to[2 * k] = at.slope_x[k] * task.grads.dx[k];
        to[2 * k + 1] = at.slope_y[k] * task.grads.dy[k];
      }
    }
  }
}

}  // namespace

template <typename A>
bool is_mostly_smooth(const GridSampleParams<A>& p) {
  const int64_t strips_per_row = (p.w + strip_length - 1) / strip_length;
  const int64_t strips = p.B * p.h * strips_per_row, tried = std::min<int64_t>(strips, 64);
  int64_t smooth = 0;
  for (int64_t i = 0; i < tried; ++i) {
    const int64_t strip = i * strips / tried, row = strip / strips_per_row;
    const int64_t x = strip % strips_per_row * strip_length;
    const StripPlan<A> plan(p, row / p.h, row % p.h, x);
    smooth += plan.runs * 16 <= plan.at.n;
  }
  return smooth * 2 >= tried;
}

template <typename A>
void grid_sample_backward_nchw(const GridSampleParams<A>& p, const A* input, const A* grad,
                               A* dinput, A* dgrid) {
  const int64_t values = std::max(p.H * p.W, p.h * p.w) * p.C;
  const int64_t blocks = blocks_per_image(p.B, dinput ? p.H : p.h, values);
  for_tasks(p.B * blocks, p.B * values, [&](int64_t task) {
    const int64_t b = task / blocks, i = task % blocks;
    const TaskRows rows{static_cast<int32_t>(i * p.H / blocks),
                        static_cast<int32_t>((i + 1) * p.H / blocks), i * p.h / blocks,
                        (i + 1) * p.h / blocks};
    backward_rows<A>(p, b, rows, input, grad, dinput, dgrid);
  });
}

#define LIFT_GRID_SAMPLE_NCHW(A)                                                                 \
  template bool is_mostly_smooth<A>(const GridSampleParams<A>&);                                 \
  template void grid_sample_backward_nchw<A>(const GridSampleParams<A>&, const A*, const A*, A*, \
                                             A*);

LIFT_GRID_SAMPLE_NCHW(float)
LIFT_GRID_SAMPLE_NCHW(double)

}  // namespace lift
