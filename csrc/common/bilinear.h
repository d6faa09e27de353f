// Bilinear sampling of one pixel or along one axis. Shared by host and device code.
//
// A is the type of all arithmetic: float, or double for double images.
#pragma once

#include <cstdint>

#include "host_device.h"

namespace lift {

// Up to this side length float holds every pixel index exactly,
// so that a clamped coordinate is a valid index.
constexpr int64_t max_side = int64_t(1) << 24;

// A coordinate clamped to [0, last]; NaN becomes 0.
template <typename A>
LIFT_HD A clamp_coord(A coord, A last) {
  return coord > A(0) ? (coord < last ? coord : last) : A(0);
}

// Whether a coordinate has a gradient: it is not clamped, not on the border and not NaN.
template <typename A>
LIFT_HD bool strictly_inside(A coord, A last) {
  return (coord > A(0)) & (coord < last);  // no branch, so that a loop over pixels vectorises
}

// One T for each of the four pixels around a sample: north-west, north-east, south-west,
// south-east.
template <typename T>
struct Corners {
  T nw, ne, sw, se;
};

// The weights of the four pixels around a sample that lies (fx, fy) from the north-west one.
template <typename A>
LIFT_HD Corners<A> bilinear_weights(A fx, A fy) {
  return {(1 - fx) * (1 - fy), fx * (1 - fy), (1 - fx) * fy, fx * fy};
}

// Add grad_out times the derivatives of a bilinear sample with respect to x and y.
//
// Differences of neighbours come first: sums of large flat values would swamp them.
template <typename A>
LIFT_HD void add_coord_grads(A& dx, A& dy, A grad_out, const Corners<A>& pixel, A fx, A fy) {
  const A north = pixel.ne - pixel.nw;
  const A both = (pixel.se - pixel.sw) - north;
  dx += grad_out * (north + fy * both);
  dy += grad_out * ((pixel.sw - pixel.nw) + fx * both);
}

}  // namespace lift
