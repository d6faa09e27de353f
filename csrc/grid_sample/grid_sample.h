// Arithmetic of grid_sample: from a number of the grid to the pixels that are read. Shared by host and device.
//
// Everything here is what torch.nn.functional.grid_sample does in 2-D, an axis at a time. A is the type of the grid and of all
// arithmetic: float, or double for double inputs.
#pragma once

#include <cmath>
#include <cstdint>

#include "warp.h"

namespace lift {

// Their values are those of the operations' arguments.
enum class Mode : int32_t { bilinear, nearest };
enum class Padding : int32_t { zeros, border, reflection };

// A place along an axis in pixels, and how it changes with the grid's number: 0 where it was clamped, or was no finite number.
template <typename A>
struct Coordinate {
  A at;
  A slope;
};

// With `zeros` the place is as the grid has it, NaN and infinities too; else it lies in [0, size - 1], and NaN is taken as -1.
template <typename A>
LIFT_HD Coordinate<A> coordinate(A grid, int32_t size, Padding padding, bool align_corners) {
  const A extent = A(align_corners ? size - 1 : size), half = extent / 2;
  const A outer = align_corners ? A(0) : A(-0.5);  // where -1 lies
  if (padding == Padding::zeros) return {(grid + A(1)) * half + outer, half};

  const A bound = A(1e30);
  const bool finite = grid >= -bound && grid <= bound;
  const A number = finite ? grid : grid > bound ? bound : grid < -bound ? -bound : A(-1);
  A at = (number + A(1)) * half + outer;
  A slope = finite ? half : A(0);
  if (padding == Padding::reflection) {
    const A period = extent > A(0) ? 2 * extent : A(1);
    const A from_outer = at - outer, distance = std::fabs(from_outer);
    const A there = distance - std::trunc(distance / period) * period, back = 2 * extent - there;
    slope = (from_outer < A(0)) != (there > back) ? -slope : slope;
    at = (there > back ? back : there) + outer;
  }
  const A last = A(size - 1);
  return {clamp(at, last), inside(at, last) ? slope : A(0)};
}

// A whole number as an index: outside [0, size) wherever the number is, too large ones and NaN included.
template <typename A>
LIFT_HD int32_t index(A whole, int32_t size) {
  const A above = whole > A(-2) ? whole : A(-2);
  return static_cast<int32_t>(above < A(size) ? above : A(size));
}

template <typename A>
LIFT_HD A rounded(A at) {
  return std::nearbyint(at);  // halves to even
}

// Where one axis is read: `fraction` of the way from pixel `low` to the next; either may lie outside. Fraction 0 for the nearest.
template <typename A>
struct Reading {
  int32_t low;
  A fraction;
  A slope;
};

template <typename A>
LIFT_HD Reading<A> reading(A grid, int32_t size, Mode mode, Padding padding, bool align_corners) {
  const Coordinate<A> place = coordinate(grid, size, padding, align_corners);
  if (mode == Mode::nearest) return {index(rounded(place.at), size), A(0), A(0)};
  const A low = std::floor(place.at);
  return {index(low, size), place.at - low, place.slope};
}

}  // namespace lift
