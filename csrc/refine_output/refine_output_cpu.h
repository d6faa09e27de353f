// refine_output on the CPU: an operation of the namespace lift_cpp (schema: bindings.cpp).
#pragma once

#include <torch/csrc/stable/tensor.h>

#include <cstdint>

namespace lift {

using torch::stable::Tensor;

Tensor refine_output_cpu(const Tensor& residual, const Tensor& bias, const Tensor& image0,
                         const Tensor& image1, const Tensor& state, const Tensor& change,
                         const Tensor& threshold, int64_t stride);

}  // namespace lift
