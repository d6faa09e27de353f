// The operations: check the arguments, create the results, call the kernels.
//
// Offsets are 64-bit throughout, so images of any size are supported.
#include "warp_blend_cpu.h"

#include <torch/headeronly/util/Exception.h>

#include <algorithm>
#include <array>

#include "../common/tensors.h"
#include "kernels.h"

namespace lift {
namespace {

void check(const char* name, const Tensor& x, const Tensor& image, int64_t channels,
           ScalarType dtype) {
  STD_TORCH_CHECK(x.dim() == 4 && x.size(0) == image.size(0) && x.size(1) == channels &&
                      x.size(2) == image.size(2) && x.size(3) == image.size(3),
                  name, " must be (", image.size(0), ", ", channels, ", ", image.size(2), ", ",
                  image.size(3), ")");
  STD_TORCH_CHECK(x.is_cpu(), name, " must be on the CPU");
  STD_TORCH_CHECK(x.scalar_type() == dtype, name, " has the wrong dtype");
}

// The arguments of a call, checked.
template <int N>
struct Inputs {
  std::array<Tensor, N> images, flows, occs;
  ScalarType dtype, accumulate;

  using Pointers = std::array<const Tensor*, N>;

  Inputs(const Pointers& image, const Pointers& flow, const Pointers& occ)
      : dtype(image[0]->scalar_type()), accumulate(accumulate_dtype(dtype)) {
    const Tensor& first = *image[0];
    STD_TORCH_CHECK(first.dim() == 4, "an image must be (B, C, H, W)");
    STD_TORCH_CHECK(first.size(2) <= max_side && first.size(3) <= max_side,
                    "an image's sides must be at most ", max_side);
    STD_TORCH_CHECK(
        dtype == accumulate || dtype == ScalarType::Half || dtype == ScalarType::BFloat16,
        "images must be float32, float64, float16 or bfloat16");
    for (int i = 0; i < N; ++i) {
      check("image", *image[i], first, first.size(1), dtype);
      check("flow", *flow[i], first, 2, accumulate);
      images[i] = *image[i];
      flows[i] = *flow[i];
      if (N == 1) continue;
      occs[i] = to_dtype(*occ[i], accumulate);
      check("occ", occs[i], first, 1, accumulate);
    }
  }

  template <typename A>
  WarpParams<A, N> params() const {
    const Tensor& image = images[0];
    WarpParams<A, N> p{image.size(0), image.size(1), image.size(2), image.size(3), {}, {}};
    for (int i = 0; i < N; ++i) {
      p.flow[i] = StridedMap<A>(flows[i]);
      if (N == 2) p.occ[i] = StridedMap<A>(occs[i]);
    }
    return p;
  }

  std::array<ImageView, N> views() const {
    if constexpr (N == 1)
      return {ImageView(images[0])};
    else
      return {ImageView(images[0]), ImageView(images[1])};
  }

  // Input i of the operation: the images, then the flows, then the visibilities.
  const Tensor& at(int i) const {
    if (i < N) return images[i];
    return i < 2 * N ? flows[i - N] : occs[(i - 2 * N) % N];
  }

  bool empty() const { return images[0].numel() == 0; }
};

template <int N>
Tensor forward(const Inputs<N>& inputs) {
  Tensor out = empty(inputs.images[0], inputs.dtype, layout(inputs.images[0]));
  if (inputs.empty()) return out;
  dispatch_accumulate_type(inputs.dtype, [&](auto number) {
    using A = decltype(number);
    warp_blend_forward<A, N>(inputs.template params<A>(), inputs.views(), ImageView(out));
  });
  return out;
}

// The gradients of the images, the flows and the visibilities, in this order;
// of shape (0,) where bit i of `needs` is not set.
template <int N>
std::array<Tensor, 3 * N> backward(const Tensor& grad, const Inputs<N>& inputs, int64_t needs) {
  check("grad", grad, inputs.images[0], inputs.images[0].size(1), inputs.dtype);
  constexpr int count = N == 1 ? 2 : 6;
  const auto needed = [&](int i) { return i < count && (needs >> i & 1); };
  std::array<Tensor, 3 * N> grads;
  for (int i = 0; i < count; ++i) {
    const Tensor& like = inputs.at(i);
    const ScalarType dtype = i < N ? inputs.dtype : inputs.accumulate;
    const MemoryFormat format = i < N ? layout(like) : MemoryFormat::Contiguous;
    if (!needed(i))
      grads[i] = empty_placeholder(like, dtype);
    else if (inputs.empty())  // without channels nothing depends on flow and visibility
      grads[i] = zeros(like, dtype, format);
    else
      grads[i] = empty(like, dtype, format);
  }
  if (inputs.empty()) return grads;
  dispatch_accumulate_type(inputs.dtype, [&](auto number) {
    using A = decltype(number);
    const auto pointer = [&](int i) {
      return needed(i) ? static_cast<A*>(grads[i].mutable_data_ptr()) : nullptr;
    };
    WarpGradients<A, N> gradients;
    for (int i = 0; i < N; ++i) {
      if (needed(i)) gradients.image[i].emplace(grads[i]);
      gradients.flow[i] = pointer(N + i);
      gradients.occ[i] = pointer(2 * N + i);
    }
    warp_blend_backward<A, N>(inputs.template params<A>(), inputs.views(), ImageView(grad),
                              gradients);
  });
  return grads;
}

}  // namespace

// -- operations -----------------------------------------------------------------------------------

Tensor warp_cpu(const Tensor& image, const Tensor& flow) {
  return forward(Inputs<1>({&image}, {&flow}, {}));
}

std::tuple<Tensor, Tensor> warp_backward_cpu(const Tensor& grad, const Tensor& image,
                                             const Tensor& flow, int64_t needs) {
  auto grads = backward<1>(grad, Inputs<1>({&image}, {&flow}, {}), needs);
  return {grads[0], grads[1]};
}

Tensor warp_blend_cpu(const Tensor& image0, const Tensor& image1, const Tensor& flow0,
                      const Tensor& flow1, const Tensor& occ0, const Tensor& occ1) {
  return forward(Inputs<2>({&image0, &image1}, {&flow0, &flow1}, {&occ0, &occ1}));
}

std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor, Tensor> warp_blend_backward_cpu(
    const Tensor& grad, const Tensor& image0, const Tensor& image1, const Tensor& flow0,
    const Tensor& flow1, const Tensor& occ0, const Tensor& occ1, int64_t needs) {
  const Inputs<2> inputs({&image0, &image1}, {&flow0, &flow1}, {&occ0, &occ1});
  auto grads = backward<2>(grad, inputs, needs);
  return {grads[0], grads[1], grads[2], grads[3], grads[4], grads[5]};
}

}  // namespace lift
