// Arithmetic of grid_sample: from grid coordinates to the pixels that are sampled, one axis at a
// time. Shared by host and device code.
//
// It equals torch.nn.functional.grid_sample in 2-D. A is the type of the grid and of all
// arithmetic: float, or double for double inputs.
#pragma once

#include <cmath>
#include <cstdint>

#include "../common/bilinear.h"

namespace lift {

// The values are those of the operations' arguments.
enum class Mode : int32_t { bilinear, nearest };
enum class Padding : int32_t { zeros, border, reflection };

// A coordinate along one axis in pixels, and its derivative with respect to the grid coordinate,
// which is 0 where the coordinate was clamped or not finite.
template <typename A>
struct PixelCoord {
  A value;
  A slope;
};

// With `zeros` padding the coordinate is unchanged, NaN and infinities included.
// Else it is in [0, size - 1], and NaN is taken as -1.
template <typename A>
LIFT_HD PixelCoord<A> pixel_coord(A grid, int32_t size, Padding padding, bool align_corners) {
  const A extent = A(align_corners ? size - 1 : size), half = extent / 2;
  const A origin = align_corners ? A(0) : A(-0.5);  // of grid coordinate -1
  if (padding == Padding::zeros) return {(grid + A(1)) * half + origin, half};

  const A bound = A(1e30);
  const bool finite = grid >= -bound && grid <= bound;
  A beyond = grid > bound ? bound : A(-1);  // -1 for NaN
  beyond = grid < -bound ? -bound : beyond;
  const A bounded = finite ? grid : beyond;
  A coord = (bounded + A(1)) * half + origin;
  A slope = finite ? half : A(0);
  if (padding == Padding::reflection) {
    const A period = extent > A(0) ? 2 * extent : A(1);
    const A from_origin = coord - origin, distance = std::fabs(from_origin);
    const A forth = distance - std::trunc(distance / period) * period, back = 2 * extent - forth;
    slope = (from_origin < A(0)) != (forth > back) ? -slope : slope;
    coord = (forth > back ? back : forth) + origin;
  }
  const A last = A(size - 1);
  return {clamp_coord(coord, last), strictly_inside(coord, last) ? slope : A(0)};
}

// A whole number as a pixel index; outside [0, size) if the number is, whatever its size, or NaN.
template <typename A>
LIFT_HD int32_t to_index(A whole, int32_t size) {
  const A above = whole > A(-2) ? whole : A(-2);
  return static_cast<int32_t>(above < A(size) ? above : A(size));
}

template <typename A>
LIFT_HD A round_half_even(A coord) {
  return std::nearbyint(coord);
}

// One axis of a sample: `fraction` of the way from pixel `low` to the next, either of which may be
// outside the input. `slope` is that of PixelCoord. With nearest both are 0.
template <typename A>
struct GridTap {
  int32_t low;
  A fraction;
  A slope;
};

template <typename A>
LIFT_HD GridTap<A> grid_tap(A grid, int32_t size, Mode mode, Padding padding, bool align_corners) {
  const PixelCoord<A> coord = pixel_coord(grid, size, padding, align_corners);
  if (mode == Mode::nearest) return {to_index(round_half_even(coord.value), size), A(0), A(0)};
  const A low = std::floor(coord.value);
  return {to_index(low, size), coord.value - low, coord.slope};
}

}  // namespace lift
