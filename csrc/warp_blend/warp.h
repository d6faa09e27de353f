// Arithmetic of the backward warp and of the visibility blend, one pixel at a time.
//
// kernels/ops/warp_blend/reference.py defines both. A is the type of the flow and of all
// arithmetic: float, or double for double images.
#pragma once

#include <cstdint>
#include <limits>

#include "../common/bilinear.h"
#include "../common/exp.h"

namespace lift {

// One axis of a sample: `fraction` of the way from pixel `low` to `low + step`.
// `step` is 0 on the far border; `inside` says whether the coordinate has a gradient.
template <typename A>
struct BilinearTap {
  int32_t low;
  int32_t step;
  A fraction;
  bool inside;
};

template <typename A>
LIFT_HD BilinearTap<A> bilinear_tap(int32_t position, A flow, int32_t size) {
  const A last = A(size - 1);
  const A coord = A(position) + flow;
  const A clamped = clamp_coord(coord, last);
  const int32_t low = static_cast<int32_t>(clamped);  // floor: never negative
  return {low, low < size - 1 ? 1 : 0, clamped - A(low), strictly_inside(coord, last)};
}

// The weights of two images by their visibility logits,
// softmax(logsigmoid(occ0), logsigmoid(occ1)), and their derivatives:
// d weight0 / d occ0 = slope0 = - d weight1 / d occ0, and the same with 0 and 1 exchanged.
template <typename A>
struct VisibilityBlend {
  A weight[2];
  A slope[2];
};

// With v = 1 / (1 + e^-occ) the first weight is (1 + e^-occ1) / (2 + e^-occ0 + e^-occ1).
// Here it is divided through by the largest term: no logarithm, and no logit overflows. Infinities
// are the largest numbers, so that two of them have a difference.
template <typename A>
LIFT_HD VisibilityBlend<A> visibility_blend(A occ0, A occ1) {
  constexpr A bound = std::numeric_limits<A>::max();
  const A n0 = occ0 < -bound ? bound : (occ0 > bound ? -bound : -occ0);
  const A n1 = occ1 < -bound ? bound : (occ1 > bound ? -bound : -occ1);
  A most = n0 > A(0) ? n0 : A(0);
  most = n1 > most ? n1 : most;
  const A one = exp_neg(-most), hidden0 = exp_neg(n0 - most), hidden1 = exp_neg(n1 - most);
  const A inverse = A(1) / (one + one + hidden0 + hidden1);
  VisibilityBlend<A> blend;
  blend.weight[0] = (one + hidden1) * inverse;
  blend.weight[1] = (one + hidden0) * inverse;
  blend.slope[0] = blend.weight[0] * hidden0 * inverse;
  blend.slope[1] = blend.weight[1] * hidden1 * inverse;
  return blend;
}

}  // namespace lift
