// The operations of torch.ops.lift_cuda: check the arguments, create the results, launch the
// kernels on PyTorch's stream.
#define USE_CUDA  // declares PyTorch's streams; no header of CUDA itself is needed
#include <torch/csrc/stable/accelerator.h>
#include <torch/csrc/stable/library.h>
#include <torch/headeronly/util/Exception.h>

#include <limits>
#include <tuple>

#include "../../common/bilinear.h"
#include "../../common/tensors.h"
#include "backward.h"

namespace lift {
namespace {

constexpr int64_t max_grid_blocks = std::numeric_limits<int32_t>::max();

Element element(ScalarType dtype) {
  switch (dtype) {
    case ScalarType::Float: return Element::float32;
    case ScalarType::Half: return Element::float16;
    case ScalarType::BFloat16: return Element::bfloat16;
    default: STD_TORCH_CHECK(false, "input must be float32, float16 or bfloat16");
  }
}

void check(const Tensor& grad, const Tensor& input, const Tensor& grid, int64_t mode,
           int64_t padding) {
  STD_TORCH_CHECK(input.dim() == 4 && input.is_cuda(), "input must be (B, C, H, W), on a GPU");
  STD_TORCH_CHECK(input.size(2) > 0 && input.size(3) > 0 && input.size(2) <= max_side &&
                      input.size(3) <= max_side,
                  "an input's sides must be from 1 to ", max_side);
  STD_TORCH_CHECK(grid.dim() == 4 && grid.size(0) == input.size(0) && grid.size(3) == 2 &&
                      grid.scalar_type() == ScalarType::Float,
                  "grid must be (", input.size(0), ", h, w, 2), float32");
  STD_TORCH_CHECK(grad.dim() == 4 && grad.size(0) == input.size(0) &&
                      grad.size(1) == input.size(1) && grad.size(2) == grid.size(1) &&
                      grad.size(3) == grid.size(2) && grad.scalar_type() == input.scalar_type(),
                  "grad must be (", input.size(0), ", ", input.size(1), ", ", grid.size(1), ", ",
                  grid.size(2), "), like input");
  STD_TORCH_CHECK(grad.get_device_index() == input.get_device_index() &&
                      grid.get_device_index() == input.get_device_index(),
                  "grad, input and grid must be on one GPU");
  STD_TORCH_CHECK(grid.size(0) * (grid.size(1) + 8) * (grid.size(2) + 32) / 16 < max_grid_blocks,
                  "the grid has too many pixels for one launch");
  STD_TORCH_CHECK(mode >= 0 && mode <= 1 && padding >= 0 && padding <= 2,
                  "no such mode or padding");
}

// x in this layout, from an address that vector loads support.
Tensor aligned(const Tensor& x, MemoryFormat format) {
  const Tensor laid_out = to_layout(x, format);
  const bool is_aligned = reinterpret_cast<uintptr_t>(laid_out.const_data_ptr()) % 16 == 0;
  if (is_aligned) return laid_out;
  return allocating(x.sizes(), x.scalar_type(), false,
                    [&] { return torch::stable::clone(laid_out); });
}

}  // namespace

std::tuple<Tensor, Tensor> grid_sample_backward_cuda(const Tensor& grad, const Tensor& input,
                                                     const Tensor& grid, int64_t mode,
                                                     int64_t padding, bool align_corners,
                                                     int64_t needs, bool deterministic) {
  check(grad, input, grid, mode, padding);
  const bool needs_input = needs & 1, needs_grid = needs >> 1 & 1;
  const torch::stable::accelerator::DeviceGuard guard(input.get_device_index());
  // The kernels work in the layout of the result.
  // Only a gradient or input with another layout is copied.
  const MemoryFormat format = layout(input);
  const ScalarType dtype = input.scalar_type();
  const bool no_pixels = grad.numel() == 0;
  const bool fixed = deterministic && needs_input && !no_pixels;

  // Zeros for sums, and where the result does not depend on the grid.
  const bool computes_dgrid = needs_grid && !no_pixels && mode == 0;
  Tensor dgrid = empty_placeholder(grid, ScalarType::Float);
  if (computes_dgrid)
    dgrid = empty(grid, ScalarType::Float, MemoryFormat::Contiguous);
  else if (needs_grid)
    dgrid = zeros(grid, ScalarType::Float, MemoryFormat::Contiguous);
  Tensor dinput = empty_placeholder(input, dtype);
  if (fixed)
    dinput = empty(input, dtype, format);
  else if (needs_input)
    dinput = zeros(input, ScalarType::Float, format);

  if (!no_pixels && (needs_input || computes_dgrid)) {
    const Tensor aligned_grad = aligned(grad, format);
    const Tensor aligned_input = computes_dgrid ? aligned(input, format) : input;
    const Tensor aligned_grid = aligned(grid, MemoryFormat::Contiguous);
    Tensor fixed_sums = empty_placeholder(input, ScalarType::Long);
    Tensor grad_absmax = empty_placeholder(input, ScalarType::Int);
    if (fixed) {
      fixed_sums = zeros(input, ScalarType::Long, format);
      grad_absmax =
          empty(std::vector<int64_t>{1}, input, ScalarType::Int, MemoryFormat::Contiguous);
      torch::stable::zero_(grad_absmax);
    }

    GridSampleBackwardParams p{};
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
    p.layout = format == MemoryFormat::ChannelsLast ? Layout::nhwc : Layout::nchw;
    // inputs
    p.grad = aligned_grad.const_data_ptr();
    if (computes_dgrid) p.input = aligned_input.const_data_ptr();
    p.grid = static_cast<const float*>(aligned_grid.const_data_ptr());
    // gradients
    if (needs_input) p.dinput = dinput.mutable_data_ptr();
    if (computes_dgrid) p.dgrid = static_cast<float*>(dgrid.mutable_data_ptr());
    // for a deterministic dinput
    if (fixed) {
      p.fixed_sums = static_cast<long long*>(fixed_sums.mutable_data_ptr());
      p.grad_absmax = static_cast<uint32_t*>(grad_absmax.mutable_data_ptr());
    }
    void* stream = nullptr;
    TORCH_ERROR_CODE_CHECK(aoti_torch_get_current_cuda_stream(input.get_device_index(), &stream));
    const char* const error = launch_grid_sample_backward(p, stream);
    STD_TORCH_CHECK(!error, "the gradients of grid_sample could not be launched: ", error);
  }
  return {needs_input ? to_dtype(dinput, dtype) : dinput, dgrid};
}

}  // namespace lift

STABLE_TORCH_LIBRARY(lift_cuda, m) {
  m.def(
      "grid_sample_backward(Tensor grad, Tensor input, Tensor grid, int mode, int padding,"
      " bool align_corners, int needs, bool deterministic) -> (Tensor, Tensor)");
}

STABLE_TORCH_LIBRARY_IMPL(lift_cuda, CUDA, m) {
  m.impl("grid_sample_backward", TORCH_BOX(&lift::grid_sample_backward_cuda));
}
