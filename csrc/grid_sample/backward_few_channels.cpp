// The gradients with few channels: too few for vectors over the channels of a pixel, so that all work is vectors of pixels.
//
// The input is read as planes, two neighbours at once; one of another layout is copied so. What is added to the gradient of the input goes
// to cells first: a cell is a place between four pixels and holds what they get from there, for each channel the sums of the north-west,
// north-east, south-west and south-east one. So a pixel of the result adds one vector a channel, and neighbours, which read the same
// pixels, do not wait for each other's sums. A row of pixels is summed from two rows of cells as soon as nothing more is added to them; a
// ring of few rows stays in the cache.
#include <algorithm>
#include <array>
#include <cstring>
#include <limits>
#include <optional>
#include <vector>

#include "grid_sample_kernels.h"
#include "rows.h"
#include "window.h"

namespace lift {
namespace {

// The rows of cells that each row of the result adds to, or more: row r lies between rows r and r + 1 of pixels.
template <typename A>
std::vector<Reach> reach(const Sampling<A>& s) {
  std::vector<Reach> rows(s.B * s.h);
  const int32_t H = static_cast<int32_t>(s.H);
  for_rows(s.B, s.h, s.w, [&](int64_t b, int64_t y) {
    int32_t first = H, last = -2;
    A least = std::numeric_limits<A>::infinity(), most = -least;
    bool ordered = s.padding != Padding::reflection;  // whether places are in the order of the grid's numbers
    for (int64_t x = 0; x < s.w && ordered; x += strip_length) {
      alignas(64) A copy[strip_length];
      const int n = s.length(x);
      const A* const v = s.strip(1, b, y, x, n, copy);
      int numbers = 1;
      _Pragma("omp simd reduction(min : least) reduction(max : most) reduction(& : numbers)")
      for (int k = 0; k < n; ++k) {
        least = v[k] < least ? v[k] : least;
        most = v[k] > most ? v[k] : most;
        numbers &= v[k] == v[k];
      }
      ordered = numbers;
    }
    if (ordered) {
      first = reading(least, H, s.mode, s.padding, s.align_corners).low - 1;  // a row more, should this be rounded another way elsewhere
      last = reading(most, H, s.mode, s.padding, s.align_corners).low + 1;
    }
    for (int64_t x = 0; x < s.w && !ordered; x += strip_length) {
      const Reads<A> at(s, b, y, x);
      const auto [lowest, highest] = std::minmax_element(at.row, at.row + at.n);
      first = std::min(first, *lowest);
      last = std::max(last, *highest);
    }
    rows[b * s.h + y] = {std::max(first, -1), std::min(last, H - 1)};
  });
  return rows;
}

// A ring of rows of cells: for each channel W + 1 cells of 4 values, the first of which lies west of the first pixel, and one cell that
// takes what is added outside.
template <typename A>
struct Cells {
  A* data = nullptr;
  int32_t rows = 0, width = 0;
  int32_t base = 0;  // the row that lies first, of which none before `base` and none from `base` + 2 `rows` on is in use
};

// Where the pixels of a strip read the input; the same for every channel. Two neighbours of a row are read at once: from the western one
// on, or where that one lies outside or is the last, from the nearest that has an eastern neighbour.
template <typename A>
struct alignas(64) Gathering {
  int32_t north[strip_length], south[strip_length];                                // where the two are in a plane
  int32_t nw[strip_length], ne[strip_length], sw[strip_length], se[strip_length];  // whether inside
  int32_t moved_east[strip_length], moved_west[strip_length];                      // from where they would be read

  Gathering(const Reads<A>& at, int64_t height, int64_t width) {
    const int n = at.n;
    const int32_t H = static_cast<int32_t>(height), W = static_cast<int32_t>(width);
    const int32_t most = std::max(W - 2, 0);
    LIFT_SIMD
    for (int k = 0; k < n; ++k) {
      const int32_t row = at.row[k], column = at.column[k];
      const bool north_inside = (row >= 0) & (row < H), south_inside = (row >= -1) & (row < H - 1);
      const bool west_inside = (column >= 0) & (column < W), east_inside = (column >= -1) & (column < W - 1);
      const int32_t from = std::min(std::max(column, 0), most);
      north[k] = std::min(std::max(row, 0), H - 1) * W + from;
      south[k] = std::min(std::max(row + 1, 0), H - 1) * W + from;
      nw[k] = north_inside & west_inside;
      ne[k] = north_inside & east_inside;
      sw[k] = south_inside & west_inside;
      se[k] = south_inside & east_inside;
      moved_east[k] = from > column;
      moved_west[k] = from < column;
    }
  }
};

// Add how a channel changes along both axes, times the result's gradient.
template <typename A>
void add_change(const Reads<A>& at, const Gathering<A>& from, const A* __restrict plane, int64_t W, const A* __restrict g,
                A* __restrict east, A* __restrict south) {
  alignas(64) A pairs[2][strip_length][2];
  const int n = at.n;
  if (W > 1) {
    for (int k = 0; k < n; ++k) {
      std::memcpy(pairs[0][k], plane + from.north[k], sizeof pairs[0][k]);
      std::memcpy(pairs[1][k], plane + from.south[k], sizeof pairs[1][k]);
    }
  } else {  // no two neighbours
    for (int k = 0; k < n; ++k)
      for (int i = 0; i < 2; ++i) {
        pairs[0][k][i] = plane[from.north[k]];
        pairs[1][k][i] = plane[from.south[k]];
      }
  }
  LIFT_SIMD
  for (int k = 0; k < n; ++k) {
    const bool moved_west = from.moved_west[k], moved_east = from.moved_east[k];
    const A nw = from.nw[k] ? (moved_west ? pairs[0][k][1] : pairs[0][k][0]) : A(0);
    const A ne = from.ne[k] ? (moved_east ? pairs[0][k][0] : pairs[0][k][1]) : A(0);
    const A sw = from.sw[k] ? (moved_west ? pairs[1][k][1] : pairs[1][k][0]) : A(0);
    const A se = from.se[k] ? (moved_east ? pairs[1][k][0] : pairs[1][k][1]) : A(0);
    const A north = ne - nw, both = (se - sw) - north;
    east[k] += g[k] * (north + at.fy[k] * both);
    south[k] += g[k] * ((sw - nw) + at.fx[k] * both);
  }
}

// Add a strip to the cells of rows [low, high).
template <int few, typename A>
void add_cells(const Sampling<A>& s, const Reads<A>& at, const std::array<const A*, few_channels>& g, const Cells<A>& cells, int32_t low,
               int32_t high) {
  const int n = at.n, C = few ? few : static_cast<int>(s.C);
  const int32_t W = static_cast<int32_t>(s.W), rows = cells.rows, width = cells.width, base = cells.base;
  alignas(64) int32_t cell[strip_length];
  LIFT_SIMD
  for (int k = 0; k < n; ++k) {
    const int32_t row = at.row[k], column = at.column[k];
    const bool within = (row >= low) & (row < high) & (column >= -1) & (column < W);
    const int32_t from_base = row - base;
    cell[k] = within ? (from_base < rows ? from_base : from_base - rows) * (width * C) + column + 1 : width - 1;
  }
  int one = 1;  // whether all add to one cell
  _Pragma("omp simd reduction(& : one)")
  for (int k = 1; k < n; ++k) one &= cell[k] == cell[0];
  A* const data = cells.data;
  const std::array<const A*, few_channels> up = g;
  if (s.mode == Mode::nearest) {
    for (int k = 0; k < n; ++k)
      for (int c = 0; c < C; ++c) data[(static_cast<int64_t>(cell[k]) + c * width) * 4] += up[c][k];
    return;
  }
  using L = Lanes<A, 4>;
  constexpr Width<4, 4> four;
  const L one_west{1, 0, 1, 0}, plus_east{-1, 1, -1, 1}, one_north{1, 1, 0, 0}, plus_south{-1, -1, 1, 1};
  const auto share = [&](int k) { return (one_west + plus_east * at.fx[k]) * (one_north + plus_south * at.fy[k]); };
  if (one) {  // each sum would wait for the one before to come back from memory
    A* to = data + static_cast<int64_t>(cell[0]) * 4;
    for (int c = 0; c < C; ++c, to += 4 * width) {
      L sum = load(to, four);
      for (int k = 0; k < n; ++k) sum += share(k) * up[c][k];
      store<A>(to, sum, four);
    }
    return;
  }
  for (int k = 0; k < n; ++k) {
    const L parts = share(k);
    A* to = data + static_cast<int64_t>(cell[k]) * 4;
    for (int c = 0; c < C; ++c, to += 4 * width) store<A>(to, load(to, four) + parts * up[c][k], four);
  }
}

// A row of pixels from the cells north and south of it, to pixels that are `apart` from one another.
template <int known_apart, typename A>
void sum_row(const A* __restrict north, const A* __restrict south, int64_t W, int64_t apart, A* __restrict to) {
  if (known_apart) apart = known_apart;
  LIFT_SIMD
  for (int64_t x = 0; x < W; ++x)
    to[x * apart] = (south[4 * x + 4] + south[4 * x + 1]) + (north[4 * x + 6] + north[4 * x + 3]);
}

// The rows [first, last) of the input's gradient of one batch entry, as a task sums them.
template <int few, typename A>
class Summed {
 public:
  Summed(const Sampling<A>& s, const View& to, int64_t b, int64_t first, int64_t last, const Reach* reaches)
      : to_(to), b_(b), first_(first), last_(last), span_(reaches, s.h, first - 1, last), zeroed_(first - 1), delivered_(first) {
    cells.rows = static_cast<int32_t>(std::min(span_.at_once + 2, last - first + 1));
    cells.width = static_cast<int32_t>(s.W + 2);
    row_ = s.C * cells.width * 4;
    cells.data = scratch<A>(cells.rows * row_, memory_);
    copy_.resize(s.W * s.C);
  }

  Cells<A> cells;

  bool reached(const Reach& by) const { return by.first < last_ && by.last >= first_ - 1; }

  // Row y of the result is about to add to the rows of cells up to `last`.
  void need(int64_t y, int64_t last) {
    deliver(span_.still[y]);
    zero(std::min(last + 1, last_));
    const int64_t lowest = first_ - 1, in_use = span_.still[y] - 1;
    cells.base = static_cast<int32_t>(lowest + std::max<int64_t>(0, in_use - lowest) / cells.rows * cells.rows);
  }

  void finish() { deliver(last_); }

 private:
  A* row(int64_t r) const { return cells.data + (r - (first_ - 1)) % cells.rows * row_; }

  void zero(int64_t end) {
    for (; zeroed_ < end; ++zeroed_) std::fill(row(zeroed_), row(zeroed_) + row_, A(0));
  }

  void deliver(int64_t end) {
    const int C = few ? few : static_cast<int>(to_.C);
    const int64_t apart = 4 * cells.width;
    const bool planes = to_.dtype == dtype_of<A> && to_.column == 1;
    for (; delivered_ < end; ++delivered_) {
      zero(delivered_ + 1);
      const A *const north = row(delivered_ - 1), *const south = row(delivered_);
      A* const place = planes ? static_cast<A*>(to_.data) + b_ * to_.batch + delivered_ * to_.row
                              : place_for_pixels<A>(to_, b_, delivered_, 0, C, copy_.data());
      for (int c = 0; c < C; ++c) {
        if (planes)
          sum_row<1>(north + c * apart, south + c * apart, to_.W, 1, place + c * to_.channel);
        else
          sum_row<few>(north + c * apart, south + c * apart, to_.W, C, place + c);
      }
      if (!planes) write_pixels<A>(to_, b_, delivered_, 0, to_.W, C, place);
    }
  }

  View to_;
  int64_t b_, first_, last_;
  Span span_;
  Tensor memory_;
  int64_t zeroed_, delivered_, row_;
  std::vector<A> copy_;
};

// A task: rows [first, last) of the input's gradient and rows [top, bottom) of the grid's, of batch entry b.
struct Task {
  int64_t b, first, last, top, bottom;
};

template <int few, typename A>
void work(const Sampling<A>& s, const Task& task, const A* input, const View& grad, const View* dinput, A* dgrid,
          const std::vector<Reach>& reaches) {
  const int C = few ? few : static_cast<int>(s.C);
  const int64_t plane = s.H * s.W;
  std::optional<Summed<few, A>> sums;
  if (dinput) sums.emplace(s, *dinput, task.b, task.first, task.last, reaches.data() + task.b * s.h);
  alignas(64) A copy[few_channels * strip_length];
  std::array<const A*, few_channels> g{};
  for (int64_t y = sums ? 0 : task.top; y < (sums ? s.h : task.bottom); ++y) {
    const bool own = dgrid && y >= task.top && y < task.bottom, adds = sums && sums->reached(reaches[task.b * s.h + y]);
    if (!own && !adds) continue;
    if (adds) sums->need(y, reaches[task.b * s.h + y].last);
    for (int64_t x = 0; x < s.w; x += strip_length) {
      const Reads<A> at(s, task.b, y, x);
      read_planes<A>(grad, task.b, y, x, at.n, strip_length, copy, g.data());
      if (own) {
        const Gathering<A> from(at, s.H, s.W);
        alignas(64) A east[strip_length] = {}, south[strip_length] = {};
        for (int c = 0; c < C; ++c) add_change(at, from, input + (task.b * C + c) * plane, s.W, g[c], east, south);
        A* __restrict const to = dgrid + ((task.b * s.h + y) * s.w + x) * 2;
        const int n = at.n;
        LIFT_SIMD
        for (int k = 0; k < n; ++k) {
          to[2 * k] = at.slope_x[k] * east[k];
          to[2 * k + 1] = at.slope_y[k] * south[k];
        }
      }
      if (adds) add_cells<few>(s, at, g, sums->cells, static_cast<int32_t>(task.first - 1), static_cast<int32_t>(task.last));
    }
  }
  if (sums) sums->finish();
}

// The input as planes (B, C, H, W): where it lies if it lies so, else a copy that lives as long as `room`.
template <typename A>
const A* planes(const View& input, Tensor& room) {
  const int64_t plane = input.H * input.W;
  const bool there = input.dtype == dtype_of<A> && (input.column == 1 || input.W == 1) && (input.row == input.W || input.H == 1) &&
                     (input.channel == plane || input.C == 1) && (input.batch == plane * input.C || input.B == 1);
  if (there) return static_cast<const A*>(input.data);
  A* const to = scratch<A>(input.B * input.C * plane, room);
  for_rows(input.B, input.H, input.W * input.C, [&](int64_t b, int64_t y) {
    copy_planes(input, b, y, 0, input.W, plane, to + b * input.C * plane + y * input.W);
  });
  return to;
}

}  // namespace

template <typename A>
void grid_sample_backward_few(const Sampling<A>& s, const View* input, const View& grad, const View* dinput, A* dgrid) {
  const int64_t size = std::max(s.H * s.W, s.h * s.w) * s.C;
  const int64_t threads = size < least_work ? 1 : static_cast<int64_t>(torch::stable::get_num_threads());
  const int64_t bands = std::clamp<int64_t>((threads + s.B - 1) / s.B, 1, dinput ? s.H : s.h);
  const std::vector<Reach> reaches = dinput ? reach(s) : std::vector<Reach>();
  Tensor room;
  const A* const from = input ? planes<A>(*input, room) : nullptr;
  const auto chosen = s.C == 1 ? work<1, A> : s.C == 2 ? work<2, A> : s.C == 3 ? work<3, A> : work<0, A>;
  torch::stable::parallel_for(0, s.B * bands, std::max<int64_t>(1, least_work * bands / size), [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t b = i / bands, band = i % bands;
      chosen(s, {b, band * s.H / bands, (band + 1) * s.H / bands, band * s.h / bands, (band + 1) * s.h / bands}, from, grad, dinput, dgrid,
             reaches);
    }
  });
}

template void grid_sample_backward_few<float>(const Sampling<float>&, const View*, const View&, const View*, float*);
template void grid_sample_backward_few<double>(const Sampling<double>&, const View*, const View&, const View*, double*);

}  // namespace lift
