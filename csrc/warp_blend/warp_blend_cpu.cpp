// The operations: what is given is checked here, results and scratch memory are made, and the kernels called.
//
// Offsets are 64-bit throughout, so no image is too large for them.
#include "warp_blend_cpu.h"

#include <torch/headeronly/util/Exception.h>

#include <algorithm>
#include <array>

#include "tensors.h"
#include "warp_blend_kernels.h"

namespace lift {
namespace {

void check(const char* name, const Tensor& x, const Tensor& image, int64_t channels, ScalarType dtype) {
  STD_TORCH_CHECK(x.dim() == 4 && x.size(0) == image.size(0) && x.size(1) == channels && x.size(2) == image.size(2) &&
                      x.size(3) == image.size(3),
                  name, " must be (", image.size(0), ", ", channels, ", ", image.size(2), ", ", image.size(3), ")");
  STD_TORCH_CHECK(x.is_cpu(), name, " must be on the CPU");
  STD_TORCH_CHECK(x.scalar_type() == dtype, name, " has the wrong dtype");
}

// The tensors of a call, checked.
template <int N>
struct Inputs {
  std::array<Tensor, N> images, flows, occs;
  ScalarType dtype, arithmetic;

  Inputs(const std::array<const Tensor*, N>& given_images, const std::array<const Tensor*, N>& given_flows,
         const std::array<const Tensor*, N>& given_occs)
      : dtype(given_images[0]->scalar_type()), arithmetic(dtype == ScalarType::Double ? dtype : ScalarType::Float) {
    const Tensor& first = *given_images[0];
    STD_TORCH_CHECK(first.dim() == 4, "an image must be (B, C, H, W)");
    STD_TORCH_CHECK(first.size(2) <= longest_side && first.size(3) <= longest_side, "an image's sides must be at most ", longest_side);
    STD_TORCH_CHECK(dtype == arithmetic || dtype == ScalarType::Half || dtype == ScalarType::BFloat16,
                    "images must be float32, float64, float16 or bfloat16");
    for (int i = 0; i < N; ++i) {
      check("image", *given_images[i], first, first.size(1), dtype);
      check("flow", *given_flows[i], first, 2, arithmetic);
      images[i] = *given_images[i];
      flows[i] = *given_flows[i];
      if (N == 1) continue;
      occs[i] = given_occs[i]->scalar_type() == arithmetic ? *given_occs[i] : torch::stable::to(*given_occs[i], arithmetic);
      check("occ", occs[i], first, 1, arithmetic);
    }
  }

  template <typename A>
  Problem<A, N> problem() const {
    Problem<A, N> p{images[0].size(0), images[0].size(1), images[0].size(2), images[0].size(3), {}, {}};
    for (int i = 0; i < N; ++i) {
      p.flow[i] = Field<A>(flows[i]);
      if (N == 2) p.occ[i] = Field<A>(occs[i]);
    }
    return p;
  }

  std::array<View, N> views() const {
    if constexpr (N == 1)
      return {View(images[0])};
    else
      return {View(images[0]), View(images[1])};
  }

  bool empty() const { return images[0].numel() == 0; }

  // Call work(A) with a value of the type of arithmetic.
  template <typename F>
  void dispatch(const F& work) const {
    if (arithmetic == ScalarType::Double)
      work(double());
    else
      work(float());
  }
};

template <int N>
Tensor forward(const Inputs<N>& inputs) {
  Tensor out = room(inputs.images[0], inputs.dtype, layout(inputs.images[0]));
  if (inputs.empty()) return out;
  inputs.dispatch([&](auto arithmetic) {
    using A = decltype(arithmetic);
    warp_blend_forward<A, N>(inputs.template problem<A>(), inputs.views(), View(out));
  });
  return out;
}

// Gradients of the images, the flows, the visibilities, in this order; (0,) where bit i of `needs` is not set.
template <int N>
std::array<Tensor, 3 * N> backward(const Tensor& grad, const Inputs<N>& inputs, int64_t needs) {
  check("grad", grad, inputs.images[0], inputs.images[0].size(1), inputs.dtype);
  constexpr int given = N == 1 ? 2 : 6;
  needs &= (1 << given) - 1;
  std::array<Tensor, 3 * N> found;
  for (int i = 0; i < given; ++i) {
    const Tensor& like = i < N ? inputs.images[i] : i < 2 * N ? inputs.flows[i - N] : inputs.occs[(i - 2 * N) % N];
    const ScalarType dtype = i < N ? inputs.dtype : inputs.arithmetic;
    found[i] = needs >> i & 1 ? room(like, dtype, i < N ? layout(like) : MemoryFormat::Contiguous) : nothing(like, dtype);
    if (inputs.empty() && needs >> i & 1) torch::stable::zero_(found[i]);  // no channels: nothing depends on flow and visibility
  }
  if (inputs.empty()) return found;
  inputs.dispatch([&](auto arithmetic) {
    using A = decltype(arithmetic);
    const auto pointer = [&](int i) { return i < given && needs >> i & 1 ? static_cast<A*>(found[i].mutable_data_ptr()) : nullptr; };
    Gradients<A, N> gradients;
    for (int i = 0; i < N; ++i) {
      if (needs >> i & 1) gradients.image[i].emplace(found[i]);
      gradients.flow[i] = pointer(N + i);
      gradients.occ[i] = pointer(2 * N + i);
    }
    warp_blend_backward<A, N>(inputs.template problem<A>(), inputs.views(), View(grad), gradients);
  });
  return found;
}

}  // namespace

// -- operations ------------------------------------------------------------------------------------------------------------------------

Tensor warp_cpu(const Tensor& image, const Tensor& flow) { return forward(Inputs<1>({&image}, {&flow}, {})); }

std::tuple<Tensor, Tensor> warp_backward_cpu(const Tensor& grad, const Tensor& image, const Tensor& flow, int64_t needs) {
  auto found = backward<1>(grad, Inputs<1>({&image}, {&flow}, {}), needs);
  return {found[0], found[1]};
}

Tensor warp_blend_cpu(const Tensor& image0, const Tensor& image1, const Tensor& flow0, const Tensor& flow1, const Tensor& occ0,
                      const Tensor& occ1) {
  return forward(Inputs<2>({&image0, &image1}, {&flow0, &flow1}, {&occ0, &occ1}));
}

std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor, Tensor> warp_blend_backward_cpu(
    const Tensor& grad, const Tensor& image0, const Tensor& image1, const Tensor& flow0, const Tensor& flow1, const Tensor& occ0,
    const Tensor& occ1, int64_t needs) {
  auto found = backward<2>(grad, Inputs<2>({&image0, &image1}, {&flow0, &flow1}, {&occ0, &occ1}), needs);
  return {found[0], found[1], found[2], found[3], found[4], found[5]};
}

const char* const processor_features = ""
#if defined(__AVX2__)
    "avx2 "
#endif
#if defined(__FMA__)
    "fma "
#endif
#if defined(__F16C__)
    "f16c "
#endif
#if defined(__AVX512F__)
    "avx512f "
#endif
#if defined(__AVX512VL__)
    "avx512vl "
#endif
#if defined(__AVX512BW__)
    "avx512bw "
#endif
#if defined(__AVX512DQ__)
    "avx512dq "
#endif
    ;

}  // namespace lift
