// change_map on the CPU: an operation of the namespace lift_cpp (schema: bindings.cpp).
#pragma once

#include <torch/csrc/stable/tensor.h>

namespace lift {

using torch::stable::Tensor;

Tensor change_map_cpu(const Tensor& image0, const Tensor& image1);

}  // namespace lift
