// frame_inputs on the CPU: an operation of the namespace lift_cpp (schema: bindings.cpp).
#pragma once

#include <torch/csrc/stable/tensor.h>
#include <torch/headeronly/core/ScalarType.h>

#include <tuple>

namespace lift {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;

std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor, Tensor> frame_inputs_cpu(const Tensor& frames,
                                                                            int64_t multiple,
                                                                            ScalarType dtype);

}  // namespace lift
