// correlation on the CPU: the operations of the namespace lift_cpp (kernels/correlation/registration.py states their schemas).
#pragma once

#include <torch/csrc/stable/tensor.h>

#include <cstdint>
#include <tuple>

namespace lift {

using torch::stable::Tensor;

Tensor correlation_cpu(const Tensor& left, const Tensor& right, int64_t radius, bool unit);

std::tuple<Tensor, Tensor> correlation_backward_cpu(const Tensor& grad, const Tensor& left, const Tensor& right, int64_t radius, bool unit,
                                                    int64_t needs);

}  // namespace lift
