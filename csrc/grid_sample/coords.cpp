#include "grid_sample_reads.h"

namespace lift {
namespace {

template <Mode mode, Padding padding, bool align_corners, typename A>
void read(const A* __restrict grid, int n, int32_t size, int32_t* __restrict low, A* __restrict fraction, A* __restrict slope) {
  LIFT_SIMD
  for (int k = 0; k < n; ++k) {
    const Reading<A> found = reading(grid[k], size, mode, padding, align_corners);
    low[k] = found.low;
    fraction[k] = found.fraction;
    slope[k] = found.slope;
  }
}

template <typename A>
using Read = decltype(&read<Mode::bilinear, Padding::zeros, true, A>);

template <Mode mode, typename A>
Read<A> chosen(Padding padding, bool align_corners) {
  switch (padding) {
    case Padding::zeros: return align_corners ? read<mode, Padding::zeros, true, A> : read<mode, Padding::zeros, false, A>;
    case Padding::border: return align_corners ? read<mode, Padding::border, true, A> : read<mode, Padding::border, false, A>;
    default: return align_corners ? read<mode, Padding::reflection, true, A> : read<mode, Padding::reflection, false, A>;
  }
}

}  // namespace

template <typename A>
Reads<A>::Reads(const Sampling<A>& s, int64_t b, int64_t y, int64_t x) : n(s.length(x)) {
  alignas(64) A copy[strip_length];
  const Read<A> axis = s.mode == Mode::nearest ? chosen<Mode::nearest, A>(s.padding, s.align_corners)
                                               : chosen<Mode::bilinear, A>(s.padding, s.align_corners);
  axis(s.strip(0, b, y, x, n, copy), n, static_cast<int32_t>(s.W), column, fx, slope_x);
  axis(s.strip(1, b, y, x, n, copy), n, static_cast<int32_t>(s.H), row, fy, slope_y);
}

template struct Reads<float>;
template struct Reads<double>;

}  // namespace lift
