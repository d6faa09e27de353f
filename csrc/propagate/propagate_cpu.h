// propagate on the CPU: an operation of the namespace lift_cpp (schema: bindings.cpp).
#pragma once

#include <torch/csrc/stable/tensor.h>

#include <cstdint>

namespace lift {

using torch::stable::Tensor;

Tensor propagate_cpu(const Tensor& luma0, const Tensor& luma1, const Tensor& state,
                     int64_t distance);

}  // namespace lift
