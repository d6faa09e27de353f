// The kernels of warp (N = 1) and warp_blend (N = 2) on the CPU; A is float, or double for double images.
#pragma once

#include <array>

#include "pixels.h"
#include "strip.h"

namespace lift {

// out (B, C, H, W), any layout and type.
template <typename A, int N>
void warp_blend_forward(const Problem<A, N>& p, const std::array<Pixels<A>, N>& image, const View& out);

// dflow[i] (B, 2, H, W) and docc[i] (B, 1, H, W), contiguous; null where not asked for.
template <typename A, int N>
void warp_blend_backward_fields(const Problem<A, N>& p, const std::array<Pixels<A>, N>& image, const View& grad,
                                const std::array<A*, N>& dflow, const std::array<A*, N>& docc);

// dimage[i] (B, H, W, C), the whole gradient of image i; null where not asked for. What is added at one place is added by one thread, in
// the order of the pixels, so a gradient's bits depend on neither the number of threads nor chance.
template <typename A, int N>
void warp_blend_backward_images(const Problem<A, N>& p, const View& grad, const std::array<Pixels<A>, N>& dimage);

}  // namespace lift
