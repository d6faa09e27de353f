// The operations of the namespace lift_cuda as PyTorch sees them (kernels/grid_sample/registration.py states their schemas): what is
// given is checked here, results and scratch memory are made, and the kernels launched on PyTorch's stream.
#define USE_CUDA  // the headers then declare PyTorch's streams; nothing of CUDA's own is needed here
#include <torch/csrc/stable/accelerator.h>
#include <torch/csrc/stable/library.h>
#include <torch/headeronly/util/Exception.h>

#include <limits>
#include <tuple>

#include "../tensors.h"
#include "../warp.h"
#include "grid_sample_backward.h"

namespace lift {
namespace {

constexpr int64_t few_channels = 8;  // too few for the lanes of a group
constexpr int64_t most_blocks = std::numeric_limits<int32_t>::max();

Element element(ScalarType dtype) {
  switch (dtype) {
    case ScalarType::Float: return Element::float32;
    case ScalarType::Half: return Element::float16;
    case ScalarType::BFloat16: return Element::bfloat16;
    default: STD_TORCH_CHECK(false, "input must be float32, float16 or bfloat16");
  }
}

void check(const Tensor& grad, const Tensor& input, const Tensor& grid, int64_t mode, int64_t padding) {
  STD_TORCH_CHECK(input.dim() == 4 && input.is_cuda(), "input must be (B, C, H, W), on a GPU");
  STD_TORCH_CHECK(input.size(2) > 0 && input.size(3) > 0 && input.size(2) <= longest_side && input.size(3) <= longest_side,
                  "an input's sides must be from 1 to ", longest_side);
  STD_TORCH_CHECK(grid.dim() == 4 && grid.size(0) == input.size(0) && grid.size(3) == 2 && grid.scalar_type() == ScalarType::Float,
                  "grid must be (", input.size(0), ", h, w, 2), float32");
  STD_TORCH_CHECK(grad.dim() == 4 && grad.size(0) == input.size(0) && grad.size(1) == input.size(1) && grad.size(2) == grid.size(1) &&
                      grad.size(3) == grid.size(2) && grad.scalar_type() == input.scalar_type(),
                  "grad must be (", input.size(0), ", ", input.size(1), ", ", grid.size(1), ", ", grid.size(2), "), like input");
  STD_TORCH_CHECK(grad.get_device_index() == input.get_device_index() && grid.get_device_index() == input.get_device_index(),
                  "grad, input and grid must be on one GPU");
  STD_TORCH_CHECK(grid.size(0) * (grid.size(1) + 8) * (grid.size(2) + 32) / 16 < most_blocks, "a grid of too many pixels for one launch");
  STD_TORCH_CHECK(mode >= 0 && mode <= 1 && padding >= 0 && padding <= 2, "no such mode or padding");
}

// In this type and layout, from an address that vector loads take.
Tensor arranged(const Tensor& x, ScalarType dtype, MemoryFormat format) {
  const Tensor typed = x.scalar_type() == dtype ? x : torch::stable::to(x, dtype);
  const bool fits = format == MemoryFormat::Contiguous ? typed.is_contiguous() : contiguous_channels_last(typed);
  const Tensor laid = fits ? typed : torch::stable::contiguous(typed, format);
  return reinterpret_cast<uintptr_t>(laid.const_data_ptr()) % 16 == 0 ? laid : torch::stable::clone(laid);
}

Tensor zeros(const Tensor& like, ScalarType dtype, MemoryFormat format) {
  Tensor made = room(like, dtype, format);
  torch::stable::zero_(made);
  return made;
}

}  // namespace

std::tuple<Tensor, Tensor> grid_sample_backward_cuda(const Tensor& grad, const Tensor& input, const Tensor& grid, int64_t mode,
                                                     int64_t padding, bool align_corners, int64_t needs, bool deterministic) {
  check(grad, input, grid, mode, padding);
  const bool input_asked = needs & 1, grid_asked = needs >> 1 & 1;
  const torch::stable::accelerator::DeviceGuard guard(input.get_device_index());
  const bool pixels = input.size(1) >= few_channels && input.size(1) % 4 == 0;
  const MemoryFormat format = pixels ? MemoryFormat::ChannelsLast : MemoryFormat::Contiguous;
  const ScalarType dtype = input.scalar_type(), worked = pixels ? dtype : ScalarType::Float;
  const bool empty = grad.numel() == 0, fixed = deterministic && input_asked;

  // Zeros where something may not be written: sums, the grid's gradient where it does not depend on the grid.
  const bool grid_depends = grid_asked && !empty && mode == 0;
  Tensor dgrid = !grid_asked ? nothing(grid, ScalarType::Float)
                 : grid_depends ? room(grid, ScalarType::Float, MemoryFormat::Contiguous) : zeros(grid, ScalarType::Float, MemoryFormat::Contiguous);
  Tensor dinput = !input_asked ? nothing(input, dtype)
                  : fixed && !empty ? room(input, ScalarType::Float, format) : zeros(input, ScalarType::Float, format);
  if (!empty && (input_asked || grid_depends)) {
    const Tensor up = arranged(grad, worked, format), from = grid_depends ? arranged(input, worked, format) : input;
    const Tensor places = arranged(grid, ScalarType::Float, MemoryFormat::Contiguous);
    Tensor sums = fixed ? zeros(input, ScalarType::Long, format) : nothing(input, ScalarType::Long);
    Tensor largest = nothing(input, ScalarType::Int);
    if (fixed) {
      const std::vector<int64_t> one{1};
      largest = room(one, input, ScalarType::Int, MemoryFormat::Contiguous);
      torch::stable::zero_(largest);
    }
    const GridSampleBackward p{input.size(0), input.size(1), input.size(2), input.size(3), grid.size(1), grid.size(2),
                               static_cast<int32_t>(mode), static_cast<int32_t>(padding), align_corners, element(worked),
                               pixels ? Order::pixels : Order::planes, up.const_data_ptr(), grid_depends ? from.const_data_ptr() : nullptr,
                               static_cast<const float*>(places.const_data_ptr()),
                               input_asked ? static_cast<float*>(dinput.mutable_data_ptr()) : nullptr,
                               grid_depends ? static_cast<float*>(dgrid.mutable_data_ptr()) : nullptr,
                               fixed ? static_cast<long long*>(sums.mutable_data_ptr()) : nullptr,
                               fixed ? static_cast<uint32_t*>(largest.mutable_data_ptr()) : nullptr};
    void* stream = nullptr;
    TORCH_ERROR_CODE_CHECK(aoti_torch_get_current_cuda_stream(input.get_device_index(), &stream));
    const char* const failure = grid_sample_backward(p, stream);
    STD_TORCH_CHECK(!failure, "the gradients of grid_sample could not be launched: ", failure);
  }
  if (input_asked) {
    if (dtype != ScalarType::Float) dinput = torch::stable::to(dinput, dtype);
    if (layout(input) != format) dinput = torch::stable::contiguous(dinput, layout(input));
  }
  return {dinput, dgrid};
}

}  // namespace lift

STABLE_TORCH_LIBRARY(lift_cuda, m) {
  m.def(
      "grid_sample_backward(Tensor grad, Tensor input, Tensor grid, int mode, int padding, bool align_corners, int needs, bool deterministic)"
      " -> (Tensor, Tensor)");
}

STABLE_TORCH_LIBRARY_IMPL(lift_cuda, CUDA, m) { m.impl("grid_sample_backward", TORCH_BOX(&lift::grid_sample_backward_cuda)); }
