// The operations: check the arguments, create the results, choose and call the kernels.
#include "grid_sample_cpu.h"

#include <torch/headeronly/util/Exception.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <optional>
#include <utility>

#include "../common/parallel.h"
#include "../common/tensors.h"
#include "kernels.h"

namespace lift {
namespace {

void check(const Tensor& input, const Tensor& grid, int64_t mode, int64_t padding) {
  const ScalarType dtype = input.scalar_type();
  STD_TORCH_CHECK(input.dim() == 4 && input.is_cpu(), "input must be (B, C, H, W), on the CPU");
  STD_TORCH_CHECK(input.size(2) > 0 && input.size(3) > 0 && input.size(2) <= max_side &&
                      input.size(3) <= max_side,
                  "an input's sides must be from 1 to ", max_side);
  STD_TORCH_CHECK(dtype == accumulate_dtype(dtype) || dtype == ScalarType::Half ||
                      dtype == ScalarType::BFloat16,
                  "input must be float32, float64, float16 or bfloat16");
  STD_TORCH_CHECK(
      grid.dim() == 4 && grid.size(0) == input.size(0) && grid.size(3) == 2 && grid.is_cpu(),
      "grid must be (", input.size(0), ", h, w, 2), on the CPU");
  STD_TORCH_CHECK(grid.scalar_type() == accumulate_dtype(dtype), "grid has the wrong dtype");
  STD_TORCH_CHECK(mode >= 0 && mode <= 1 && padding >= 0 && padding <= 2,
                  "no such mode or padding");
}

void check(const Tensor& grad, const Tensor& input, const Tensor& grid) {
  STD_TORCH_CHECK(grad.dim() == 4 && grad.size(0) == input.size(0) &&
                      grad.size(1) == input.size(1) && grad.size(2) == grid.size(1) &&
                      grad.size(3) == grid.size(2) && grad.is_cpu() &&
                      grad.scalar_type() == input.scalar_type(),
                  "grad must be (", input.size(0), ", ", input.size(1), ", ", grid.size(1), ", ",
                  grid.size(2), "), like input");
}

// A result of one column is processed as one row, because many pixels of a row make a strip.
bool is_one_column(const Tensor& grid) { return grid.size(2) == 1; }

template <typename A>
GridSampleParams<A> make_params(const Tensor& input, const Tensor& grid, int64_t mode,
                                int64_t padding, bool align_corners) {
  GridSampleParams<A> p;
  p.B = input.size(0);
  p.C = input.size(1);
  p.H = input.size(2);
  p.W = input.size(3);
  p.h = grid.size(1);
  p.w = grid.size(2);
  p.mode = static_cast<Mode>(mode);
  p.padding = static_cast<Padding>(padding);
  p.align_corners = align_corners;
  p.grid.data = static_cast<const A*>(grid.const_data_ptr());
  p.grid.stride_b = grid.stride(0);
  p.grid.stride_c = grid.stride(3);
  p.grid.stride_y = grid.stride(1);
  p.grid.stride_x = grid.stride(2);
  if (is_one_column(grid)) {
    std::swap(p.h, p.w);
    std::swap(p.grid.stride_y, p.grid.stride_x);
  }
  return p;
}

ImageView view_of_result(const Tensor& result, const Tensor& grid) {
  ImageView v(result);
  if (is_one_column(grid)) {
    std::swap(v.H, v.W);
    std::swap(v.stride_y, v.stride_x);
  }
  return v;
}

// Call an operation of PyTorch's that returns a tensor.
template <typename... Arguments>
Tensor call_pytorch(const char* name, const Arguments&... arguments) {
  std::array<StableIValue, sizeof...(Arguments)> stack{torch::stable::detail::from(arguments)...};
  TORCH_ERROR_CODE_CHECK(torch_call_dispatcher(name, "", stack.data(), TORCH_ABI_VERSION));
  return torch::stable::detail::to<Tensor>(stack[0]);
}

template <typename A>
A* data_of(const Tensor& x) {
  return static_cast<A*>(x.mutable_data_ptr());
}

// In all three, `dinput` and `dgrid` are null where not needed.

template <typename A>
void backward_nchw(const GridSampleParams<A>& p, const Tensor& grad, const Tensor& input,
                   Tensor* dinput, A* dgrid) {
  const auto to_planes = [](const Tensor& x) {
    return to_layout(to_dtype(x, dtype_of<A>), MemoryFormat::Contiguous);
  };
  const Tensor grad_planes = to_planes(grad);
  const Tensor input_planes = dgrid ? to_planes(input) : input;
  const Tensor sums = dinput ? empty(input, dtype_of<A>, MemoryFormat::Contiguous) : input;
  grid_sample_backward_nchw<A>(p, dgrid ? data_of<A>(input_planes) : nullptr,
                               data_of<A>(grad_planes), dinput ? data_of<A>(sums) : nullptr, dgrid);
  if (dinput) *dinput = to_layout(to_dtype(sums, input.scalar_type()), layout(input));
}

template <typename A>
void backward_nhwc(const GridSampleParams<A>& p, const ImageView& grad, const Tensor& input,
                   Tensor* dinput, A* dgrid) {
  if (dgrid) {
    Tensor storage;
    const NhwcImages<A> images = to_nhwc<A>(ImageView(input), p.C, storage);
    grid_sample_backward_grid_nhwc<A>(p, images, grad, dgrid);
  }
  if (dinput) {
    *dinput = empty(input, input.scalar_type(), layout(input));
    Tensor storage;
    const ImageView to(*dinput);
    const NhwcImages<A> sums = nhwc_buffer<A>(to, storage);
    grid_sample_backward_input_nhwc<A>(p, grad, sums);
    from_nhwc(sums, to);
  }
}

template <typename A>
void backward_few_channels(const GridSampleParams<A>& p, const ImageView& grad, const Tensor& input,
                           Tensor* dinput, A* dgrid) {
  if (dinput) *dinput = empty(input, input.scalar_type(), layout(input));
  const ImageView from(input), to(dinput ? *dinput : input);
  grid_sample_backward_few_channels<A>(p, dgrid ? &from : nullptr, grad, dinput ? &to : nullptr,
                                       dgrid);
}

template <typename A>
void backward(const GridSampleParams<A>& p, const Tensor& grad, const Tensor& input,
              const Tensor& grid, Tensor* dinput, A* dgrid) {
  constexpr int64_t max_offset = std::numeric_limits<int32_t>::max();
  if (p.C < min_vector_channels && p.C * (p.H + 2) * (p.W + 2) <= max_offset)
    backward_few_channels<A>(p, view_of_result(grad, grid), input, dinput, dgrid);
  else if (layout(input) == MemoryFormat::Contiguous && p.H * p.W <= max_offset &&
           is_mostly_smooth(p))
    backward_nchw<A>(p, grad, input, dinput, dgrid);
  else
    backward_nhwc<A>(p, view_of_result(grad, grid), input, dinput, dgrid);
}

// A copy of a grid without NaN, infinities and numbers that overflow on their way to pixels, which
// PyTorch's reflection does not map to a pixel. `_bounded` in reference.py has the same values.
template <typename A>
Tensor without_overflow(const Tensor& grid, int64_t side) {
  const Tensor from = to_layout(grid, MemoryFormat::Contiguous);
  Tensor copy = empty(grid, dtype_of<A>, MemoryFormat::Contiguous);
  const A most = std::numeric_limits<A>::max() / A(2 * side);
  const A* const value = static_cast<const A*>(from.const_data_ptr());
  A* const to = data_of<A>(copy);
  for_tasks(grid.size(0) * grid.size(1), grid.numel(), [&](int64_t row) {
    const int64_t n = 2 * grid.size(2);
    for (int64_t i = row * n; i < (row + 1) * n; ++i) {
      if (std::isnan(value[i]))
        to[i] = A(-1);
      else
        to[i] = std::abs(value[i]) > most ? std::copysign(A(1e30), value[i]) : value[i];
    }
  });
  return copy;
}

}  // namespace

Tensor grid_sample_cpu(const Tensor& input, const Tensor& grid, int64_t mode, int64_t padding,
                       bool align_corners) {
  check(input, grid, mode, padding);
  const ScalarType dtype = grid.scalar_type();
  Tensor bounded = grid;
  if (static_cast<Padding>(padding) == Padding::reflection)
    dispatch_accumulate_type(dtype, [&](auto number) {
      bounded = without_overflow<decltype(number)>(grid, std::max(input.size(2), input.size(3)));
    });
  const Tensor pixels = to_dtype(input, dtype);
  const std::array<int64_t, 4> sizes{input.size(0), input.size(1), grid.size(1), grid.size(2)};
  const Tensor out = allocating(sizes, dtype, true, [&] {
    return call_pytorch("aten::grid_sampler_2d", pixels, bounded, mode, padding, align_corners);
  });
  return to_layout(to_dtype(out, input.scalar_type()), MemoryFormat::Contiguous);
}

std::tuple<Tensor, Tensor> grid_sample_backward_cpu(const Tensor& grad, const Tensor& input,
                                                    const Tensor& grid, int64_t mode,
                                                    int64_t padding, bool align_corners,
                                                    int64_t needs, bool /*deterministic*/) {
  check(input, grid, mode, padding);
  check(grad, input, grid);
  const ScalarType dtype = input.scalar_type(), grid_dtype = grid.scalar_type();
  const bool needs_input = needs & 1, needs_grid = needs >> 1 & 1, no_pixels = grad.numel() == 0;
  // With nearest the result does not depend on the grid.
  const bool computes_dgrid = needs_grid && !no_pixels && static_cast<Mode>(mode) == Mode::bilinear;

  Tensor dgrid = empty_placeholder(grid, grid_dtype);
  if (computes_dgrid)
    dgrid = empty(grid, grid_dtype, MemoryFormat::Contiguous);
  else if (needs_grid)
    dgrid = zeros(grid, grid_dtype, MemoryFormat::Contiguous);
  Tensor dinput = needs_input && no_pixels ? zeros(input, dtype, layout(input))
                                           : empty_placeholder(input, dtype);
  if (no_pixels || !(needs_input || computes_dgrid)) return {dinput, dgrid};

  dispatch_accumulate_type(dtype, [&](auto number) {
    using A = decltype(number);
    backward<A>(make_params<A>(input, grid, mode, padding, align_corners), grad, input, grid,
                needs_input ? &dinput : nullptr, computes_dgrid ? data_of<A>(dgrid) : nullptr);
  });
  return {dinput, dgrid};
}

}  // namespace lift
