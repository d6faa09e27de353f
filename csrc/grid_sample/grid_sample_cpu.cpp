// The operations: what is given is checked here, results and scratch memory are made, and the kernels called.
#include "grid_sample_cpu.h"

#include <torch/headeronly/util/Exception.h>

#include <array>
#include <limits>
#include <optional>
#include <utility>

#include "grid_sample_kernels.h"
#include "tensors.h"

namespace lift {
namespace {

ScalarType arithmetic(const Tensor& input) { return input.scalar_type() == ScalarType::Double ? ScalarType::Double : ScalarType::Float; }

void check(const Tensor& input, const Tensor& grid, int64_t mode, int64_t padding) {
  const ScalarType dtype = input.scalar_type();
  STD_TORCH_CHECK(input.dim() == 4 && input.is_cpu(), "input must be (B, C, H, W), on the CPU");
  STD_TORCH_CHECK(input.size(2) > 0 && input.size(3) > 0 && input.size(2) <= longest_side && input.size(3) <= longest_side,
                  "an input's sides must be from 1 to ", longest_side);
  STD_TORCH_CHECK(dtype == arithmetic(input) || dtype == ScalarType::Half || dtype == ScalarType::BFloat16,
                  "input must be float32, float64, float16 or bfloat16");
  STD_TORCH_CHECK(grid.dim() == 4 && grid.size(0) == input.size(0) && grid.size(3) == 2 && grid.is_cpu(), "grid must be (", input.size(0),
                  ", h, w, 2), on the CPU");
  STD_TORCH_CHECK(grid.scalar_type() == arithmetic(input), "grid has the wrong dtype");
  STD_TORCH_CHECK(mode >= 0 && mode <= 1 && padding >= 0 && padding <= 2, "no such mode or padding");
}

void check(const Tensor& grad, const Tensor& input, const Tensor& grid) {
  STD_TORCH_CHECK(grad.dim() == 4 && grad.size(0) == input.size(0) && grad.size(1) == input.size(1) && grad.size(2) == grid.size(1) &&
                      grad.size(3) == grid.size(2) && grad.is_cpu() && grad.scalar_type() == input.scalar_type(),
                  "grad must be (", input.size(0), ", ", input.size(1), ", ", grid.size(1), ", ", grid.size(2), "), like input");
}

// A result of one column is worked on as one row: many pixels of a row make a strip.
bool upright(const Tensor& grid) { return grid.size(2) == 1; }

template <typename A>
Sampling<A> sampling(const Tensor& input, const Tensor& grid, int64_t mode, int64_t padding, bool align_corners) {
  Field<A> field;
  field.data = static_cast<const A*>(grid.const_data_ptr());
  field.batch = grid.stride(0), field.channel = grid.stride(3), field.row = grid.stride(1), field.column = grid.stride(2);
  Sampling<A> s{input.size(0), input.size(1), input.size(2), input.size(3), grid.size(1), grid.size(2),
                static_cast<Mode>(mode), static_cast<Padding>(padding), align_corners, field};
  if (upright(grid)) {
    std::swap(s.h, s.w);
    std::swap(s.grid.row, s.grid.column);
  }
  return s;
}

View view(const Tensor& result, const Tensor& grid) {
  View v(result);
  if (upright(grid)) {
    std::swap(v.H, v.W);
    std::swap(v.row, v.column);
  }
  return v;
}

Tensor arranged(const Tensor& x, ScalarType dtype, MemoryFormat format) {
  const Tensor typed = x.scalar_type() == dtype ? x : torch::stable::to(x, dtype);
  const bool fits = format == MemoryFormat::Contiguous ? typed.is_contiguous() : contiguous_channels_last(typed);
  return fits ? typed : torch::stable::contiguous(typed, format);
}

// Call an operation of PyTorch's that returns a tensor.
template <typename... Arguments>
Tensor pytorch(const char* name, const Arguments&... arguments) {
  std::array<StableIValue, sizeof...(Arguments)> stack{torch::stable::detail::from(arguments)...};
  TORCH_ERROR_CODE_CHECK(torch_call_dispatcher(name, "", stack.data(), TORCH_ABI_VERSION));
  return torch::stable::detail::to<Tensor>(stack[0]);
}

template <typename A>
A* values(const Tensor& x) {
  return static_cast<A*>(x.mutable_data_ptr());
}

// Both gradients where each channel is a plane; `dgrid` null where not asked for.
template <typename A>
void backward_planes(const Sampling<A>& s, const Tensor& grad, const Tensor& input, Tensor* dinput, A* dgrid) {
  const Tensor up = arranged(grad, dtype_of<A>, MemoryFormat::Contiguous);
  const Tensor from = dgrid ? arranged(input, dtype_of<A>, MemoryFormat::Contiguous) : input;
  Tensor sums = dinput ? room(input, dtype_of<A>, MemoryFormat::Contiguous) : input;
  grid_sample_backward_planes<A>(s, dgrid ? values<A>(from) : nullptr, values<A>(up), dinput ? values<A>(sums) : nullptr, dgrid);
  if (dinput) *dinput = arranged(sums, input.scalar_type(), layout(input));
}

// Both where the channels of a pixel lie side by side.
template <typename A>
void backward_pixels(const Sampling<A>& s, const View& grad, const Tensor& input, Tensor* dinput, A* dgrid) {
  if (dgrid) {
    Tensor copy;
    grid_sample_backward_grid<A>(s, gather_pixels<A>(View(input), s.C, copy), grad, dgrid);
  }
  if (dinput) {
    *dinput = room(input, input.scalar_type(), layout(input));
    Tensor copy;
    const View to(*dinput);
    const Pixels<A> sums = room_for_pixels<A>(to, copy);
    grid_sample_backward_input<A>(s, grad, sums);
    deliver_pixels(sums, to);
  }
}

// Both with few channels.
template <typename A>
void backward_few(const Sampling<A>& s, const View& grad, const Tensor& input, Tensor* dinput, A* dgrid) {
  if (dinput) *dinput = room(input, input.scalar_type(), layout(input));
  const View from(input), to(dinput ? *dinput : input);
  grid_sample_backward_few<A>(s, dgrid ? &from : nullptr, grad, dinput ? &to : nullptr, dgrid);
}

template <typename A>
void backward(const Sampling<A>& s, const Tensor& grad, const Tensor& input, const Tensor& grid, Tensor* dinput, A* dgrid) {
  constexpr int64_t most = std::numeric_limits<int32_t>::max();
  if (s.C < few_channels && s.C * (s.H + 2) * (s.W + 2) <= most)
    backward_few<A>(s, view(grad, grid), input, dinput, dgrid);
  else if (layout(input) == MemoryFormat::Contiguous && s.H * s.W <= most && mostly_smooth(s))
    backward_planes<A>(s, grad, input, dinput, dgrid);
  else
    backward_pixels<A>(s, view(grad, grid), input, dinput, dgrid);
}

}  // namespace

Tensor grid_sample_cpu(const Tensor& input, const Tensor& grid, int64_t mode, int64_t padding, bool align_corners) {
  check(input, grid, mode, padding);
  const Tensor typed = input.scalar_type() == grid.scalar_type() ? input : torch::stable::to(input, grid.scalar_type());
  using Number = std::optional<double>;
  const bool folded = static_cast<Padding>(padding) == Padding::reflection;  // PyTorch has no place for infinities there
  const Tensor numbers = folded ? pytorch("aten::nan_to_num", grid, Number(-1), Number(1e30), Number(-1e30)) : grid;
  const Tensor out = pytorch("aten::grid_sampler_2d", typed, numbers, mode, padding, align_corners);
  return arranged(out, input.scalar_type(), MemoryFormat::Contiguous);
}

std::tuple<Tensor, Tensor> grid_sample_backward_cpu(const Tensor& grad, const Tensor& input, const Tensor& grid, int64_t mode,
                                                    int64_t padding, bool align_corners, int64_t needs, bool) {
  check(input, grid, mode, padding);
  check(grad, input, grid);
  const bool input_asked = needs & 1, grid_asked = needs >> 1 & 1, empty = grad.numel() == 0;
  const bool grid_depends = grid_asked && !empty && static_cast<Mode>(mode) == Mode::bilinear;
  Tensor dinput = nothing(input, input.scalar_type());
  Tensor dgrid = grid_asked ? room(grid, grid.scalar_type(), MemoryFormat::Contiguous) : nothing(grid, grid.scalar_type());
  if (grid_asked && !grid_depends) torch::stable::zero_(dgrid);
  if (input_asked && empty) {
    dinput = room(input, input.scalar_type(), layout(input));
    torch::stable::zero_(dinput);
  }
  if (empty || !(input_asked || grid_depends)) return {dinput, dgrid};
  Tensor* const to_input = input_asked ? &dinput : nullptr;
  if (arithmetic(input) == ScalarType::Double)
    backward<double>(sampling<double>(input, grid, mode, padding, align_corners), grad, input, grid, to_input,
                     grid_depends ? values<double>(dgrid) : nullptr);
  else
    backward<float>(sampling<float>(input, grid, mode, padding, align_corners), grad, input, grid, to_input,
                    grid_depends ? values<float>(dgrid) : nullptr);
  return {dinput, dgrid};
}

}  // namespace lift
