// lucas_kanade on the CPU: an operation of the namespace lift_cpp (schema: bindings.cpp).
#pragma once

#include <torch/csrc/stable/tensor.h>

namespace lift {

using torch::stable::Tensor;

Tensor lucas_kanade_cpu(const Tensor& image0, const Tensor& image1, const Tensor& flow0,
                        const Tensor& flow1, const Tensor& t);

}  // namespace lift
