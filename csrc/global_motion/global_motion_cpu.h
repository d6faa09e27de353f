// global_motion on the CPU, without a gradient: an operation of the namespace lift_cpp (schema:
// bindings.cpp).
#pragma once

#include <torch/csrc/stable/tensor.h>

#include <cstdint>
#include <tuple>

#include "../common/tensors.h"

namespace lift {

std::tuple<Tensor, Tensor> global_motion_cpu(const Tensor& volume, const Tensor& left,
                                             const Tensor& right, const Tensor& inv_temperature,
                                             const Tensor& prior, const Tensor& t, int64_t radius,
                                             ScalarType dtype);

}  // namespace lift
