// group_norm on the CPU: operations of the namespace lift_cpp (schemas: bindings.cpp).
#pragma once

#include <torch/csrc/stable/tensor.h>

#include <optional>
#include <tuple>

namespace lift {

using torch::stable::Tensor;

std::tuple<Tensor, Tensor, Tensor> group_norm_cpu(
    const Tensor& x, const std::optional<Tensor>& skip, const Tensor& weight, const Tensor& bias,
    const std::optional<Tensor>& x_bias, int64_t groups, double eps, double slope);

std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor> group_norm_backward_cpu(
    const Tensor& grad, const Tensor& x, const std::optional<Tensor>& skip, const Tensor& weight,
    const Tensor& bias, const std::optional<Tensor>& x_bias, int64_t groups, double eps,
    double slope, const Tensor& mean, const Tensor& rstd, int64_t needs);

}  // namespace lift
