// propagate on the CPU: operations of the namespace lift_cpp (schemas: bindings.cpp).
#pragma once

#include <torch/csrc/stable/tensor.h>

#include <cstdint>
#include <tuple>

namespace lift {

using torch::stable::Tensor;

// The result, and the weights of the fields if `save`, else a placeholder.
std::tuple<Tensor, Tensor> propagate_cpu(const Tensor& luma0, const Tensor& luma1,
                                         const Tensor& state, int64_t distance, bool save);
Tensor propagate_backward_cpu(const Tensor& grad, const Tensor& weights, int64_t distance);

}  // namespace lift
