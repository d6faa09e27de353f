// The kernels of warp (N = 1) and warp_blend (N = 2) on the CPU; A is float, or double for double images. Images, the result and their
// gradients are of any layout and type.
#pragma once

#include <array>
#include <optional>

#include "pixels.h"
#include "strip.h"

namespace lift {

template <typename A, int N>
void warp_blend_forward(const Problem<A, N>& p, const std::array<View, N>& image, const View& out);

// What the backward pass is to make; what is not asked for is null or empty.
template <typename A, int N>
struct Gradients {
  std::array<std::optional<View>, N> image;
  std::array<A*, N> flow{}, occ{};  // (B, 2, H, W) and (B, 1, H, W), contiguous
};

// One pass over the result's gradient makes all. What is added at one place of an image's gradient is added by one thread, in the order of
// the pixels, so a gradient's bits depend on neither the number of threads nor chance.
template <typename A, int N>
void warp_blend_backward(const Problem<A, N>& p, const std::array<View, N>& image, const View& grad, const Gradients<A, N>& gradients);

}  // namespace lift
