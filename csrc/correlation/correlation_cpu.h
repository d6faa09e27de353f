// correlation on the CPU: operations of the namespace lift_cpp (schemas: bindings.cpp).
#pragma once

#include <torch/csrc/stable/tensor.h>

#include <cstdint>
#include <tuple>

namespace lift {

using torch::stable::Tensor;

Tensor correlation_cpu(const Tensor& fmap0, const Tensor& fmap1, int64_t radius, bool normalize);

std::tuple<Tensor, Tensor> correlation_backward_cpu(const Tensor& grad, const Tensor& fmap0,
                                                    const Tensor& fmap1, int64_t radius,
                                                    bool normalize, int64_t needs);

}  // namespace lift
