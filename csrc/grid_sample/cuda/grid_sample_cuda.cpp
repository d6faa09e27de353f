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

// In this layout, from an address that vector loads take.
Tensor arranged(const Tensor& x, MemoryFormat format) {
  const bool fits = format == MemoryFormat::Contiguous ? x.is_contiguous() : contiguous_channels_last(x);
  const Tensor laid = fits ? x : torch::stable::contiguous(x, format);
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
  // The kernels read and add to the layout that the result is to have; only what has neither layout, or not input's, is copied.
  const MemoryFormat format = layout(input);
  const ScalarType dtype = input.scalar_type();
  const bool empty = grad.numel() == 0, fixed = deterministic && input_asked && !empty;

  // Zeros where something may not be written: sums, the grid's gradient where it does not depend on the grid.
  const bool grid_depends = grid_asked && !empty && mode == 0;
  Tensor dgrid = nothing(grid, ScalarType::Float);
  if (grid_depends)
    dgrid = room(grid, ScalarType::Float, MemoryFormat::Contiguous);
  else if (grid_asked)
    dgrid = zeros(grid, ScalarType::Float, MemoryFormat::Contiguous);
  Tensor dinput = nothing(input, dtype);
  if (fixed)
    dinput = room(input, dtype, format);
  else if (input_asked)
    dinput = zeros(input, ScalarType::Float, format);

  if (!empty && (input_asked || grid_depends)) {
    const Tensor up = arranged(grad, format), from = grid_depends ? arranged(input, format) : input;
    const Tensor places = arranged(grid, MemoryFormat::Contiguous);
    Tensor sums = nothing(input, ScalarType::Long), largest = nothing(input, ScalarType::Int);
    if (fixed) {
      sums = zeros(input, ScalarType::Long, format);
      const std::vector<int64_t> one{1};
      largest = room(one, input, ScalarType::Int, MemoryFormat::Contiguous);
      torch::stable::zero_(largest);
    }
    GridSampleBackward p{};
    p.B = input.size(0);
    p.C = input.size(1);
    p.H = input.size(2);
    p.W = input.size(3);
    p.h = grid.size(1);
    p.w = grid.size(2);
    p.mode = static_cast<int32_t>(mode);
    p.padding = static_cast<int32_t>(padding);
    p.align_corners = align_corners;
    p.element = element(dtype);
    p.order = format == MemoryFormat::ChannelsLast ? Order::pixels : Order::planes;
    p.grad = up.const_data_ptr();
    p.grid = static_cast<const float*>(places.const_data_ptr());
    if (grid_depends) {
      p.input = from.const_data_ptr();
      p.dgrid = static_cast<float*>(dgrid.mutable_data_ptr());
    }
    if (input_asked) p.dinput = dinput.mutable_data_ptr();
    if (fixed) {
      p.fixed = static_cast<long long*>(sums.mutable_data_ptr());
      p.largest = static_cast<uint32_t*>(largest.mutable_data_ptr());
    }
    void* stream = nullptr;
    TORCH_ERROR_CODE_CHECK(aoti_torch_get_current_cuda_stream(input.get_device_index(), &stream));
    const char* const failure = grid_sample_backward(p, stream);
    STD_TORCH_CHECK(!failure, "the gradients of grid_sample could not be launched: ", failure);
  }
  if (input_asked && dinput.scalar_type() != dtype) dinput = torch::stable::to(dinput, dtype);
  return {dinput, dgrid};
}

}  // namespace lift

STABLE_TORCH_LIBRARY(lift_cuda, m) {
  m.def(
      "grid_sample_backward(Tensor grad, Tensor input, Tensor grid, int mode, int padding, bool align_corners, int needs, bool deterministic)"
      " -> (Tensor, Tensor)");
}

STABLE_TORCH_LIBRARY_IMPL(lift_cuda, CUDA, m) { m.impl("grid_sample_backward", TORCH_BOX(&lift::grid_sample_backward_cuda)); }
