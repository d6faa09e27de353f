// The gradients with few channels: too few for vectors over the channels of a pixel, so that all
// arithmetic is vectors of pixels.
//
// The input is read as planes, two neighbours at a time; other layouts are copied to planes.
//
// The gradient of the input is first summed in cells. A cell is the square between four pixels; for
// each channel it holds the sums of what these get from samples in the square. A pixel of the
// result then adds one vector a channel, and neighbours, which sample the same pixels, do not wait
// for each other's sums. As soon as nothing more is added to two rows of cells, the row of pixels
// between them is computed; a ring of few rows of cells stays in the cache.
#include <algorithm>
#include <array>
#include <cstring>
#include <limits>
#include <optional>
#include <vector>

#include "../common/parallel.h"
#include "../common/row_ring.h"
#include "kernels.h"

namespace lift {
namespace {

// The rows of cells that each row of the result adds to, or a superset.
// Row r of cells is between rows r and r + 1 of pixels.
template <typename A>
std::vector<RowRange> cell_rows(const GridSampleParams<A>& p) {
  std::vector<RowRange> ranges(p.B * p.h);
  const int32_t H = static_cast<int32_t>(p.H);
  for_rows(p.B, p.h, p.w, [&](int64_t b, int64_t y) {
    int32_t first = H, last = -2;
    A least = std::numeric_limits<A>::infinity(), most = -least;
    // Whether pixel coordinates are in the order of the grid coordinates. Those of NaN are in none,
    // nor those of infinities, which are NaN where a side has an extent of 0.
    bool ordered = p.padding != Padding::reflection;
    for (int64_t x = 0; x < p.w && ordered; x += strip_length) {
      alignas(64) A copy[strip_length];
      const int n = strip_size(x, p.w);
      const A* const v = p.load_strip(1, b, y, x, n, copy);
      int all_finite = 1;
#pragma omp simd reduction(min : least) reduction(max : most) reduction(& : all_finite)
      for (int k = 0; k < n; ++k) {
        least = v[k] < least ? v[k] : least;
        most = v[k] > most ? v[k] : most;
        all_finite &= v[k] - v[k] == A(0);
      }
      ordered = all_finite;
    }
    if (ordered) {
      // One row more on either side, in case a coordinate is rounded differently elsewhere.
      first = grid_tap(least, H, p.mode, p.padding, p.align_corners).low - 1;
      last = grid_tap(most, H, p.mode, p.padding, p.align_corners).low + 1;
    }
    for (int64_t x = 0; x < p.w && !ordered; x += strip_length) {
      const GridCoords<A> at(p, b, y, x);
      const auto [lowest, highest] = std::minmax_element(at.y0, at.y0 + at.n);
      first = std::min(first, *lowest);
      last = std::max(last, *highest);
    }
    ranges[b * p.h + y] = {std::max(first, -1), std::min(last, H - 1)};
  });
  return ranges;
}

// -- the gradient of the grid ---------------------------------------------------------------------

// Where the pixels of a strip sample a plane; the same for all channels.
//
// Two neighbours of a row are read at once, from the western one on. Where that one is outside or
// in the last column, the pair is shifted to the nearest one that is inside.
template <typename A>
struct alignas(64) PixelPairs {
  int32_t north[strip_length], south[strip_length];  // offsets of the pairs in a plane
  int32_t nw[strip_length], ne[strip_length], sw[strip_length], se[strip_length];  // inside?
  int32_t shifted_east[strip_length], shifted_west[strip_length];

  PixelPairs(const GridCoords<A>& at, int64_t height, int64_t width) {
    const int n = at.n;
    const int32_t H = static_cast<int32_t>(height), W = static_cast<int32_t>(width);
    const int32_t last_pair = std::max(W - 2, 0);
    LIFT_SIMD
    for (int k = 0; k < n; ++k) {
      const int32_t y0 = at.y0[k], x0 = at.x0[k];
      const bool north_inside = (y0 >= 0) & (y0 < H), south_inside = (y0 >= -1) & (y0 < H - 1);
      const bool west_inside = (x0 >= 0) & (x0 < W), east_inside = (x0 >= -1) & (x0 < W - 1);
      const int32_t x = std::min(std::max(x0, 0), last_pair);
      north[k] = std::min(std::max(y0, 0), H - 1) * W + x;
      south[k] = std::min(std::max(y0 + 1, 0), H - 1) * W + x;
      nw[k] = north_inside & west_inside;
      ne[k] = north_inside & east_inside;
      sw[k] = south_inside & west_inside;
      se[k] = south_inside & east_inside;
      shifted_east[k] = x > x0;
      shifted_west[k] = x < x0;
    }
  }
};

// Add grad_out times the derivatives of a strip's samples of one channel.
template <typename A>
void add_strip_coord_grads(const GridCoords<A>& at, const PixelPairs<A>& from,
                           const A* __restrict plane, int64_t W, const A* __restrict grad_out,
                           A* __restrict dx, A* __restrict dy) {
  alignas(64) A north[strip_length][2], south[strip_length][2];
  const int n = at.n;
  if (W > 1) {
    for (int k = 0; k < n; ++k) {
      std::memcpy(north[k], plane + from.north[k], sizeof north[k]);
      std::memcpy(south[k], plane + from.south[k], sizeof south[k]);
    }
  } else {  // there are no two neighbours
    for (int k = 0; k < n; ++k)
      for (int i = 0; i < 2; ++i) {
        north[k][i] = plane[from.north[k]];
        south[k][i] = plane[from.south[k]];
      }
  }
  LIFT_SIMD
  for (int k = 0; k < n; ++k) {
    const bool shifted_west = from.shifted_west[k], shifted_east = from.shifted_east[k];
    const A nw = from.nw[k] ? (shifted_west ? north[k][1] : north[k][0]) : A(0);
    const A ne = from.ne[k] ? (shifted_east ? north[k][0] : north[k][1]) : A(0);
    const A sw = from.sw[k] ? (shifted_west ? south[k][1] : south[k][0]) : A(0);
    const A se = from.se[k] ? (shifted_east ? south[k][0] : south[k][1]) : A(0);
    add_coord_grads(dx[k], dy[k], grad_out[k], Corners<A>{nw, ne, sw, se}, at.fx[k], at.fy[k]);
  }
}

// -- the gradient of the input --------------------------------------------------------------------

// A ring of rows of cells. For each channel a row has W + 1 cells of four values, the first of
// which is west of the first pixel, and one more cell for samples outside the input.
template <typename A>
struct Cells {
  A* data = nullptr;
  int32_t rows = 0, width = 0;
  int32_t base = 0;  // the row at the start of the ring; rows in use are base to base + 2 rows - 1
};

// Add a strip to the cells of rows [low, high).
template <int static_C, typename A>
void scatter_to_cells(const GridSampleParams<A>& p, const GridCoords<A>& at,
                      const std::array<const A*, min_vector_channels>& grads, const Cells<A>& cells,
                      int32_t low, int32_t high) {
  const int n = at.n, C = static_C ? static_C : static_cast<int>(p.C);
  const int32_t W = static_cast<int32_t>(p.W);
  const int32_t rows = cells.rows, width = cells.width, base = cells.base;
  alignas(64) int32_t cell[strip_length];
  LIFT_SIMD
  for (int k = 0; k < n; ++k) {
    const int32_t y0 = at.y0[k], x0 = at.x0[k];
    const bool inside = (y0 >= low) & (y0 < high) & (x0 >= -1) & (x0 < W);
    const int32_t row = y0 - base;
    cell[k] = inside ? (row < rows ? row : row - rows) * (width * C) + x0 + 1 : width - 1;
  }
  int same_cell = 1;
#pragma omp simd reduction(& : same_cell)
  for (int k = 1; k < n; ++k) same_cell &= cell[k] == cell[0];
  A* const data = cells.data;
  const std::array<const A*, min_vector_channels> grad_out = grads;
  if (p.mode == Mode::nearest) {
    for (int k = 0; k < n; ++k)
      for (int c = 0; c < C; ++c)
        data[(static_cast<int64_t>(cell[k]) + c * width) * 4] += grad_out[c][k];
    return;
  }
  using V = Vec<A, 4>;
  constexpr ActiveLanes<4, 4> four;
  const V one_west{1, 0, 1, 0}, plus_east{-1, 1, -1, 1};
  const V one_north{1, 1, 0, 0}, plus_south{-1, -1, 1, 1};
  const auto weights = [&](int k) {
    return (one_west + plus_east * at.fx[k]) * (one_north + plus_south * at.fy[k]);
  };
  if (same_cell) {  // sums in memory would wait for each other
    A* to = data + static_cast<int64_t>(cell[0]) * 4;
    for (int c = 0; c < C; ++c, to += 4 * width) {
      V sum = load(to, four);
      for (int k = 0; k < n; ++k) sum += weights(k) * grad_out[c][k];
      store<A>(to, sum, four);
    }
    return;
  }
  for (int k = 0; k < n; ++k) {
    const V weight = weights(k);
    A* to = data + static_cast<int64_t>(cell[k]) * 4;
    for (int c = 0; c < C; ++c, to += 4 * width)
      store<A>(to, load(to, four) + weight * grad_out[c][k], four);
  }
}

// A row of pixels from the cells north and south of it, to pixels that are `stride` values apart.
template <int static_stride, typename A>
void cells_to_pixels(const A* __restrict north, const A* __restrict south, int64_t W,
                     int64_t stride, A* __restrict to) {
  if (static_stride) stride = static_stride;
  LIFT_SIMD
  for (int64_t x = 0; x < W; ++x)
    to[x * stride] = (south[4 * x + 4] + south[4 * x + 1]) + (north[4 * x + 6] + north[4 * x + 3]);
}

// Rows [first, last) of the input's gradient of one batch entry, as a task sums them.
template <int static_C, typename A>
class InputGradRows {
 public:
  InputGradRows(const GridSampleParams<A>& p, const ImageView& to, int64_t b, int64_t first,
                int64_t last, const RowRange* ranges)
      : to_(to),
        b_(b),
        first_(first),
        last_(last),
        schedule_(ranges, p.h, first - 1, last),
        zeroed_(first - 1),
        flushed_(first) {
    cells.rows = static_cast<int32_t>(std::min(schedule_.max_live + 2, last - first + 1));
    cells.width = static_cast<int32_t>(p.W + 2);
    row_size_ = p.C * cells.width * 4;
    cells.data = allocate<A>(cells.rows * row_size_, storage_);
    copy_.resize(p.W * p.C);
  }

  Cells<A> cells;

  bool overlaps(const RowRange& range) const {
    return range.first < last_ && range.last >= first_ - 1;
  }

  // Row y of the result is about to add to the rows of cells up to `last`.
  void prepare(int64_t y, int64_t last) {
    flush(schedule_.first_needed_row[y]);
    zero(std::min(last + 1, last_));
    const int64_t lowest = first_ - 1, in_use = schedule_.first_needed_row[y] - 1;
    const int64_t laps = std::max<int64_t>(0, in_use - lowest) / cells.rows;
    cells.base = static_cast<int32_t>(lowest + laps * cells.rows);
  }

  void finish() { flush(last_); }

 private:
  A* row(int64_t r) const { return cells.data + (r - (first_ - 1)) % cells.rows * row_size_; }

  void zero(int64_t end) {
    for (; zeroed_ < end; ++zeroed_) std::fill(row(zeroed_), row(zeroed_) + row_size_, A(0));
  }

  void flush(int64_t end) {
    const int C = static_C ? static_C : static_cast<int>(to_.C);
    const int64_t channel = 4 * cells.width;
    const bool to_planes = to_.dtype == dtype_of<A> && to_.stride_x == 1;
    for (; flushed_ < end; ++flushed_) {
      zero(flushed_ + 1);
      const A *const north = row(flushed_ - 1), *const south = row(flushed_);
      if (to_planes) {
        A* const to = static_cast<A*>(to_.data) + b_ * to_.stride_b + flushed_ * to_.stride_y;
        for (int c = 0; c < C; ++c)
          cells_to_pixels<1>(north + c * channel, south + c * channel, to_.W, 1,
                             to + c * to_.stride_c);
      } else {
        A* const to = pixel_buffer<A>(to_, b_, flushed_, 0, C, copy_.data());
        for (int c = 0; c < C; ++c)
          cells_to_pixels<static_C>(north + c * channel, south + c * channel, to_.W, C, to + c);
        write_pixels<A>(to_, b_, flushed_, 0, to_.W, C, to);
      }
    }
  }

  ImageView to_;
  int64_t b_, first_, last_;
  RowSchedule schedule_;
  Tensor storage_;
  int64_t zeroed_, flushed_, row_size_;
  std::vector<A> copy_;
};

// -- tasks ----------------------------------------------------------------------------------------

// The rows of a task: [first, last) of dinput and [top, bottom) of dgrid, of batch entry b.
struct TaskRows {
  int64_t b, first, last, top, bottom;
};

// inputs: input (B, C, H, W), contiguous, null where dgrid is; grad (B, C, h, w)
// gradients: dinput (B, C, H, W), dgrid (B, h, w, 2)
template <int static_C, typename A>
void backward_rows(const GridSampleParams<A>& p, const TaskRows& task, const A* input,
                   const ImageView& grad, const ImageView* dinput, A* dgrid,
                   const std::vector<RowRange>& ranges) {
  const int C = static_C ? static_C : static_cast<int>(p.C);
  const int64_t plane = p.H * p.W;
  std::optional<InputGradRows<static_C, A>> sums;
  if (dinput) sums.emplace(p, *dinput, task.b, task.first, task.last, ranges.data() + task.b * p.h);
  alignas(64) A copy[min_vector_channels * strip_length];
  std::array<const A*, min_vector_channels> grads{};
  for (int64_t y = sums ? 0 : task.top; y < (sums ? p.h : task.bottom); ++y) {
    const bool needs_dgrid = dgrid && y >= task.top && y < task.bottom;
    const bool adds_dinput = sums && sums->overlaps(ranges[task.b * p.h + y]);
    if (!needs_dgrid && !adds_dinput) continue;
    if (adds_dinput) sums->prepare(y, ranges[task.b * p.h + y].last);
    for (int64_t x = 0; x < p.w; x += strip_length) {
      const GridCoords<A> at(p, task.b, y, x);
      read_planes<A>(grad, task.b, y, x, at.n, strip_length, copy, grads.data());
      if (needs_dgrid) {
        const PixelPairs<A> from(at, p.H, p.W);
        alignas(64) A dx[strip_length] = {}, dy[strip_length] = {};
        for (int c = 0; c < C; ++c)
          add_strip_coord_grads(at, from, input + (task.b * C + c) * plane, p.W, grads[c], dx, dy);
        A* __restrict const to = dgrid + ((task.b * p.h + y) * p.w + x) * 2;
        const int n = at.n;
        LIFT_SIMD
        for (int k = 0; k < n; ++k) {
          to[2 * k] = at.slope_x[k] * dx[k];
          to[2 * k + 1] = at.slope_y[k] * dy[k];
        }
      }
      if (adds_dinput)
        scatter_to_cells<static_C>(p, at, grads, sums->cells, static_cast<int32_t>(task.first - 1),
                                   static_cast<int32_t>(task.last));
    }
  }
  if (sums) sums->finish();
}

template <typename A>
auto choose_backward_rows(int64_t C) {
  switch (C) {
    case 1: return backward_rows<1, A>;
    case 2: return backward_rows<2, A>;
    case 3: return backward_rows<3, A>;
    default: return backward_rows<0, A>;
  }
}

// The input as contiguous planes: in place if possible, else a copy that lives as long as
// `storage`.
template <typename A>
const A* to_planes(const ImageView& input, Tensor& storage) {
  const int64_t plane = input.H * input.W;
  const bool in_place = input.dtype == dtype_of<A> && (input.stride_x == 1 || input.W == 1) &&
                        (input.stride_y == input.W || input.H == 1) &&
                        (input.stride_c == plane || input.C == 1) &&
                        (input.stride_b == plane * input.C || input.B == 1);
  if (in_place) return static_cast<const A*>(input.data);
  A* const to = allocate<A>(input.B * input.C * plane, storage);
  for_rows(input.B, input.H, input.W * input.C, [&](int64_t b, int64_t y) {
    copy_planes(input, b, y, 0, input.W, plane, to + b * input.C * plane + y * input.W);
  });
  return to;
}

}  // namespace

template <typename A>
void grid_sample_backward_few_channels(const GridSampleParams<A>& p, const ImageView* input,
                                       const ImageView& grad, const ImageView* dinput, A* dgrid) {
  const int64_t values = std::max(p.H * p.W, p.h * p.w) * p.C;
  const int64_t blocks = blocks_per_image(p.B, dinput ? p.H : p.h, values);
  const std::vector<RowRange> ranges = dinput ? cell_rows(p) : std::vector<RowRange>();
  Tensor storage;
  const A* const planes = input ? to_planes<A>(*input, storage) : nullptr;
  const auto compute_rows = choose_backward_rows<A>(p.C);
  for_tasks(p.B * blocks, p.B * values, [&](int64_t task) {
    const int64_t b = task / blocks, i = task % blocks;
    const TaskRows rows{b, i * p.H / blocks, (i + 1) * p.H / blocks, i * p.h / blocks,
                        (i + 1) * p.h / blocks};
    compute_rows(p, rows, planes, grad, dinput, dgrid, ranges);
  });
}

#define LIFT_GRID_SAMPLE_FEW_CHANNELS(A)                                                           \
  template void grid_sample_backward_few_channels<A>(const GridSampleParams<A>&, const ImageView*, \
                                                     const ImageView&, const ImageView*, A*);

LIFT_GRID_SAMPLE_FEW_CHANNELS(float)
LIFT_GRID_SAMPLE_FEW_CHANNELS(double)

}  // namespace lift
