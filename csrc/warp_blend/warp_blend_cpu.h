// warp and warp_blend on the CPU: operations of the namespace lift_cpp (schemas: bindings.cpp).
#pragma once

#include <torch/csrc/stable/tensor.h>

#include <cstdint>
#include <tuple>

namespace lift {

using torch::stable::Tensor;

Tensor warp_cpu(const Tensor& image, const Tensor& flow);

std::tuple<Tensor, Tensor> warp_backward_cpu(const Tensor& grad, const Tensor& image,
                                             const Tensor& flow, int64_t needs);

Tensor warp_blend_cpu(const Tensor& image0, const Tensor& image1, const Tensor& flow0,
                      const Tensor& flow1, const Tensor& occ0, const Tensor& occ1);

std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor, Tensor> warp_blend_backward_cpu(
    const Tensor& grad, const Tensor& image0, const Tensor& image1, const Tensor& flow0,
    const Tensor& flow1, const Tensor& occ0, const Tensor& occ1, int64_t needs);

}  // namespace lift
