// grid_sample on the CPU: operations of the namespace lift_cpp (schemas: bindings.cpp).
#pragma once

#include <torch/csrc/stable/tensor.h>

#include <cstdint>
#include <tuple>

namespace lift {

using torch::stable::Tensor;

// PyTorch's own kernel, which no kernel here was faster than.
// Calling it from C++ has less overhead than from Python.
Tensor grid_sample_cpu(const Tensor& input, const Tensor& grid, int64_t mode, int64_t padding,
                       bool align_corners);

// Deterministic whether or not `deterministic` is set.
std::tuple<Tensor, Tensor> grid_sample_backward_cpu(const Tensor& grad, const Tensor& input,
                                                    const Tensor& grid, int64_t mode,
                                                    int64_t padding, bool align_corners,
                                                    int64_t needs, bool deterministic);

}  // namespace lift
