// Room for results, in the layout that they take from an image.
#pragma once

#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>
#include <torch/headeronly/core/MemoryFormat.h>
#include <torch/headeronly/core/ScalarType.h>

#include <array>
#include <optional>
#include <vector>

namespace lift {

using torch::headeronly::MemoryFormat;
using torch::headeronly::ScalarType;
using torch::stable::Tensor;

inline bool contiguous_channels_last(const Tensor& x) {
  int64_t expected = 1;
  for (int d : {1, 3, 2, 0}) {
    if (x.size(d) != 1 && x.stride(d) != expected) return false;
    expected *= x.size(d);
  }
  return true;
}

// The layout that a result takes from an image: channels_last where the image is so and not contiguous too, else contiguous.
inline MemoryFormat layout(const Tensor& image) {
  return !image.is_contiguous() && contiguous_channels_last(image) ? MemoryFormat::ChannelsLast : MemoryFormat::Contiguous;
}

inline Tensor room(const std::vector<int64_t>& sizes, const Tensor& like, ScalarType dtype, MemoryFormat format) {
  return torch::stable::empty({sizes.data(), sizes.size()}, dtype, std::nullopt, like.device(), std::nullopt, format);
}

inline Tensor room(const Tensor& like, ScalarType dtype, MemoryFormat format) {
  return torch::stable::empty(like.sizes(), dtype, std::nullopt, like.device(), std::nullopt, format);
}

// What stands for a gradient that is not asked for.
inline Tensor nothing(const Tensor& like, ScalarType dtype) {
  const std::array<int64_t, 1> none{0};
  return torch::stable::empty({none.data(), 1}, dtype, std::nullopt, like.device());
}

}  // namespace lift
