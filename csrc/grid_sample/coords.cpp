#include "coords.h"

namespace lift {
namespace {

template <Mode mode, Padding padding, bool align_corners, typename A>
void grid_taps(const A* __restrict grid, int n, int32_t size, int32_t* __restrict low,
               A* __restrict fraction, A* __restrict slope) {
  LIFT_SIMD
  for (int k = 0; k < n; ++k) {
    const GridTap<A> tap = grid_tap(grid[k], size, mode, padding, align_corners);
    low[k] = tap.low;
    fraction[k] = tap.fraction;
    slope[k] = tap.slope;
  }
}

template <typename A>
using GridTaps = decltype(&grid_taps<Mode::bilinear, Padding::zeros, true, A>);

template <Mode mode, bool align_corners, typename A>
GridTaps<A> choose_grid_taps(Padding padding) {
  switch (padding) {
    case Padding::zeros: return grid_taps<mode, Padding::zeros, align_corners, A>;
    case Padding::border: return grid_taps<mode, Padding::border, align_corners, A>;
    default: return grid_taps<mode, Padding::reflection, align_corners, A>;
  }
}

template <Mode mode, typename A>
GridTaps<A> choose_grid_taps(Padding padding, bool align_corners) {
  return align_corners ? choose_grid_taps<mode, true, A>(padding)
                       : choose_grid_taps<mode, false, A>(padding);
}

}  // namespace

template <typename A>
GridCoords<A>::GridCoords(const GridSampleParams<A>& p, int64_t b, int64_t y, int64_t x)
    : n(strip_size(x, p.w)) {
  alignas(64) A copy[strip_length];
  const GridTaps<A> taps = p.mode == Mode::nearest
                               ? choose_grid_taps<Mode::nearest, A>(p.padding, p.align_corners)
                               : choose_grid_taps<Mode::bilinear, A>(p.padding, p.align_corners);
  taps(p.load_strip(0, b, y, x, n, copy), n, static_cast<int32_t>(p.W), x0, fx, slope_x);
  taps(p.load_strip(1, b, y, x, n, copy), n, static_cast<int32_t>(p.H), y0, fy, slope_y);
}

template struct GridCoords<float>;
template struct GridCoords<double>;

}  // namespace lift
