// Tensors of the stable ABI: memory layouts, new tensors, conversions.
#pragma once

#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>
#include <torch/headeronly/core/MemoryFormat.h>
#include <torch/headeronly/core/ScalarType.h>
#include <torch/headeronly/util/Exception.h>

#include <array>
#include <cstdint>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

#include "out_of_memory.h"

namespace lift {

using torch::headeronly::MemoryFormat;
using torch::headeronly::ScalarType;
using torch::stable::Tensor;

template <typename A>
constexpr ScalarType dtype_of = sizeof(A) == 8 ? ScalarType::Double : ScalarType::Float;

// The dtype of the arithmetic on tensors of a dtype: float64 for float64, else float32.
inline ScalarType accumulate_dtype(ScalarType dtype) {
  return dtype == ScalarType::Double ? ScalarType::Double : ScalarType::Float;
}

// Call work(A()), where A is float, or double for float64.
template <typename F>
void dispatch_accumulate_type(ScalarType dtype, const F& work) {
  if (accumulate_dtype(dtype) == ScalarType::Double)
    work(double());
  else
    work(float());
}

// Raise unless x is on the CPU and has these sizes and this dtype.
inline void check_tensor(const char* name, const Tensor& x, const std::vector<int64_t>& sizes,
                         ScalarType dtype) {
  bool fits = x.dim() == static_cast<int64_t>(sizes.size());
  for (size_t d = 0; fits && d < sizes.size(); ++d) fits = x.size(d) == sizes[d];
  STD_TORCH_CHECK(fits, name, " has the wrong shape");
  STD_TORCH_CHECK(x.is_cpu(), name, " must be on the CPU");
  STD_TORCH_CHECK(x.scalar_type() == dtype, name, " has the wrong dtype");
}

// -- layouts --------------------------------------------------------------------------------------

inline bool contiguous_channels_last(const Tensor& x) {
  int64_t expected = 1;
  for (int d : {1, 3, 2, 0}) {
    if (x.size(d) != 1 && x.stride(d) != expected) return false;
    expected *= x.size(d);
  }
  return true;
}

// The layout of a result, taken from an image:
// channels_last where the image is channels_last and not also contiguous, else contiguous.
inline MemoryFormat layout(const Tensor& image) {
  const bool channels_last = !image.is_contiguous() && contiguous_channels_last(image);
  return channels_last ? MemoryFormat::ChannelsLast : MemoryFormat::Contiguous;
}

inline int element_size(ScalarType dtype) {
  if (dtype == ScalarType::Double || dtype == ScalarType::Long) return 8;
  return dtype == ScalarType::Half || dtype == ScalarType::BFloat16 ? 2 : 4;
}

// Call work(), which allocates a tensor of PyTorch's with these sizes.
template <typename Sizes, typename F>
auto allocating(const Sizes& sizes, ScalarType dtype, bool on_cpu, const F& work) {
  try {
    return work();
  } catch (const std::exception&) {
    double bytes = element_size(dtype);
    for (const int64_t size : sizes) bytes *= static_cast<double>(size);
    throw std::runtime_error(out_of_memory(bytes, on_cpu));
  }
}

// x where it has this layout, else a copy that has.
inline Tensor to_layout(const Tensor& x, MemoryFormat format) {
  const bool fits =
      format == MemoryFormat::Contiguous ? x.is_contiguous() : contiguous_channels_last(x);
  if (fits) return x;
  return allocating(x.sizes(), x.scalar_type(), x.is_cpu(),
                    [&] { return torch::stable::contiguous(x, format); });
}

inline Tensor to_dtype(const Tensor& x, ScalarType dtype) {
  if (x.scalar_type() == dtype) return x;
  return allocating(x.sizes(), dtype, x.is_cpu(), [&] { return torch::stable::to(x, dtype); });
}

// -- new tensors ----------------------------------------------------------------------------------

inline Tensor empty(const std::vector<int64_t>& sizes, const Tensor& like, ScalarType dtype,
                    MemoryFormat format) {
  return allocating(sizes, dtype, like.is_cpu(), [&] {
    return torch::stable::empty({sizes.data(), sizes.size()}, dtype, std::nullopt, like.device(),
                                std::nullopt, format);
  });
}

inline Tensor empty(const Tensor& like, ScalarType dtype, MemoryFormat format) {
  return allocating(like.sizes(), dtype, like.is_cpu(), [&] {
    return torch::stable::empty(like.sizes(), dtype, std::nullopt, like.device(), std::nullopt,
                                format);
  });
}

inline Tensor zeros(const Tensor& like, ScalarType dtype, MemoryFormat format) {
  Tensor x = empty(like, dtype, format);
  torch::stable::zero_(x);
  return x;
}

// A tensor of shape (0,): what an operation returns for a gradient that is not needed.
inline Tensor empty_placeholder(const Tensor& like, ScalarType dtype) {
  const std::array<int64_t, 1> none{0};
  return torch::stable::empty({none.data(), 1}, dtype, std::nullopt, like.device());
}

// Uninitialised CPU memory for `count` values, which lives as long as `storage`.
template <typename A>
A* allocate(int64_t count, Tensor& storage) {
  const std::array<int64_t, 1> size{count};
  storage = allocating(size, dtype_of<A>, true,
                       [&] { return torch::stable::empty({size.data(), 1}, dtype_of<A>); });
  return static_cast<A*>(storage.mutable_data_ptr());
}

// The values of a tensor in the order of its dimensions.
template <typename A>
std::vector<A> to_vector(const Tensor& x) {
  const Tensor dense = to_layout(to_dtype(x, dtype_of<A>), MemoryFormat::Contiguous);
  const A* const from = static_cast<const A*>(dense.const_data_ptr());
  return std::vector<A>(from, from + dense.numel());
}

}  // namespace lift
