// The kernels of warp (N = 1) and warp_blend (N = 2) on the CPU.
//
// A is float, or double for double images. Images, the result and their gradients are
// (B, C, H, W), of any strides and dtype.
#pragma once

#include <array>
#include <optional>

#include "../common/pixels.h"
#include "strip.h"

namespace lift {

template <typename A, int N>
void warp_blend_forward(const WarpParams<A, N>& p, const std::array<ImageView, N>& image,
                        const ImageView& out);

// The gradients that the backward pass computes; null or empty where not needed.
template <typename A, int N>
struct WarpGradients {
  std::array<std::optional<ImageView>, N> image;  // (B, C, H, W)
  std::array<A*, N> flow{};                       // (B, 2, H, W), contiguous
  std::array<A*, N> occ{};                        // (B, 1, H, W), contiguous
};

// All gradients in one pass over the result's gradient.
//
// Each value of an image's gradient is summed by one thread, in the order of the pixels:
// its bits depend on neither the number of threads nor their timing.
template <typename A, int N>
void warp_blend_backward(const WarpParams<A, N>& p, const std::array<ImageView, N>& image,
                         const ImageView& grad, const WarpGradients<A, N>& gradients);

}  // namespace lift
