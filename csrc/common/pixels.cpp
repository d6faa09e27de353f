#include "pixels.h"

#include <torch/csrc/stable/ops.h>
#include <torch/headeronly/util/BFloat16.h>
#include <torch/headeronly/util/Exception.h>
#include <torch/headeronly/util/Half.h>

#include <algorithm>
#include <type_traits>

#include "parallel.h"
#include "simd.h"

namespace lift {
namespace {

// Pixels that are rearranged at a time, so that they and all their channels stay in the cache.
constexpr int64_t tile = 128;

constexpr ActiveLanes<4, 4> four_lanes;

// Call work with a null pointer to the type of the image.
template <typename F>
void dispatch_dtype(ScalarType dtype, const F& work) {
  switch (dtype) {
    case ScalarType::Float: return work(static_cast<float*>(nullptr));
    case ScalarType::Double: return work(static_cast<double*>(nullptr));
    case ScalarType::BFloat16: return work(static_cast<c10::BFloat16*>(nullptr));
    case ScalarType::Half: return work(static_cast<c10::Half*>(nullptr));
    default: STD_TORCH_CHECK(false, "images must be float32, float64, float16 or bfloat16");
  }
}

// Whether pixels are adjacent, each with adjacent channels.
bool is_packed(const ImageView& v) {
  return (v.stride_c == 1 || v.C == 1) && (v.stride_x == v.C || v.W == 1);
}

// Whether pixels can be used in place as (n, pixel_stride) of type A.
template <typename A>
bool usable_in_place(const ImageView& v, int64_t pixel_stride) {
  return v.dtype == dtype_of<A> && pixel_stride == v.C && is_packed(v);
}

int64_t offset_of(const ImageView& v, int64_t b, int64_t y, int64_t x) {
  return b * v.stride_b + y * v.stride_y + x * v.stride_x;
}

// -- between planes and pixels, of one type -------------------------------------------------------

template <typename A>
struct FourVecs {
  Vec<A, 4> vec[4];
};

// Transpose four channels of four pixels.
template <typename A>
LIFT_HD FourVecs<A> transpose(Vec<A, 4> a, Vec<A, 4> b, Vec<A, 4> c, Vec<A, 4> d) {
  const Vec<A, 4> ab = __builtin_shufflevector(a, b, 0, 4, 1, 5);
  const Vec<A, 4> cd = __builtin_shufflevector(c, d, 0, 4, 1, 5);
  const Vec<A, 4> ab2 = __builtin_shufflevector(a, b, 2, 6, 3, 7);
  const Vec<A, 4> cd2 = __builtin_shufflevector(c, d, 2, 6, 3, 7);
  return {{__builtin_shufflevector(ab, cd, 0, 1, 4, 5), __builtin_shufflevector(ab, cd, 2, 3, 6, 7),
           __builtin_shufflevector(ab2, cd2, 0, 1, 4, 5),
           __builtin_shufflevector(ab2, cd2, 2, 3, 6, 7)}};
}

// The same in memory; the strides are those between vectors.
template <typename A>
LIFT_HD void transpose(A* to, int64_t to_stride, const A* from, int64_t from_stride) {
  const FourVecs<A> result = transpose<A>(
      load(from, four_lanes), load(from + from_stride, four_lanes),
      load(from + 2 * from_stride, four_lanes), load(from + 3 * from_stride, four_lanes));
  for (int i = 0; i < 4; ++i) store<A>(to + i * to_stride, result.vec[i], four_lanes);
}

// n pixels of few channels, a number known at compile time,
// from planes to pixels (`to_pixels`) or the other way.
template <int C, bool to_pixels, typename A>
void interleave(A* __restrict to, const A* __restrict from, int64_t plane, int64_t n) {
  for (int64_t k = 0; k < n; ++k)
    for (int c = 0; c < C; ++c) {
      if constexpr (to_pixels)
        to[k * C + c] = from[c * plane + k];
      else
        to[c * plane + k] = from[k * C + c];
    }
}

// n pixels of C channels from planes to pixels (`to_pixels`) or the other way.
template <bool to_pixels, typename A>
void rearrange(A* __restrict to, const A* __restrict from, int64_t plane, int64_t n, int64_t C) {
  if (C == 1) return interleave<1, to_pixels>(to, from, plane, n);
  if (C == 2) return interleave<2, to_pixels>(to, from, plane, n);
  if (C == 3) return interleave<3, to_pixels>(to, from, plane, n);
  const int64_t to_x = to_pixels ? C : 1, to_c = to_pixels ? 1 : plane;
  const int64_t from_x = to_pixels ? 1 : C, from_c = to_pixels ? plane : 1;
  for (int64_t start = 0; start < n; start += tile) {
    const int64_t stop = std::min(n, start + tile), fours = start + (stop - start) / 4 * 4;
    for (int64_t c = 0; c < C; c += 4) {
      const bool whole = c + 4 <= C;
      for (int64_t k = start; whole && k < fours; k += 4)
        transpose(to + k * to_x + c * to_c, to_pixels ? C : plane, from + k * from_x + c * from_c,
                  to_pixels ? plane : C);
      for (int64_t rest = c; rest < std::min(C, c + 4); ++rest)
        for (int64_t k = whole ? fours : start; k < stop; ++k)
          to[k * to_x + rest * to_c] = from[k * from_x + rest * from_c];
    }
  }
}

// -- between three channels and four values a pixel -----------------------------------------------

// Three channels, planes or adjacent, to four values a pixel of which the last is zero:
// as many of n pixels as can be done by vectors. Returns how many were done.
template <typename A>
int64_t pad_by_vectors(A* __restrict to, const A* __restrict from, int64_t stride_x,
                       int64_t stride_c, int64_t n) {
  int64_t k = 0;
  for (; stride_x == 1 && k + 4 <= n; k += 4) {
    const A* const first = from + k;
    const FourVecs<A> pixels =
        transpose<A>(load(first, four_lanes), load(first + stride_c, four_lanes),
                     load(first + 2 * stride_c, four_lanes), Vec<A, 4>{});
    for (int i = 0; i < 4; ++i) store<A>(to + (k + i) * 4, pixels.vec[i], four_lanes);
  }
  // The vector includes the next pixel's first value.
  for (; stride_x == 3 && stride_c == 1 && k + 1 < n; ++k) {
    Vec<A, 4> pixel = load(from + k * 3, four_lanes);
    pixel[3] = A(0);
    store<A>(to + k * 4, pixel, four_lanes);
  }
  return k;
}

// The other way.
template <typename A>
int64_t unpad_by_vectors(A* __restrict to, int64_t stride_x, int64_t stride_c,
                         const A* __restrict from, int64_t n) {
  int64_t k = 0;
  for (; stride_x == 1 && k + 4 <= n; k += 4) {
    const A* const pixels = from + k * 4;
    const FourVecs<A> planes =
        transpose<A>(load(pixels, four_lanes), load(pixels + 4, four_lanes),
                     load(pixels + 8, four_lanes), load(pixels + 12, four_lanes));
    for (int c = 0; c < 3; ++c) store<A>(to + k + c * stride_c, planes.vec[c], four_lanes);
  }
  // The next pixel overwrites the fourth value.
  for (; stride_x == 3 && stride_c == 1 && k + 1 < n; ++k)
    store<A>(to + k * 3, load(from + k * 4, four_lanes), four_lanes);
  return k;
}

// All n pixels, of any strides and types.
template <typename To, typename From>
void pad_pixels(To* __restrict to, const From* __restrict from, int64_t stride_x, int64_t stride_c,
                int64_t n) {
  int64_t k = 0;
  if constexpr (std::is_same_v<To, From>) k = pad_by_vectors(to, from, stride_x, stride_c, n);
  for (; k < n; ++k) {
    for (int c = 0; c < 3; ++c) to[k * 4 + c] = static_cast<To>(from[k * stride_x + c * stride_c]);
    to[k * 4 + 3] = To(0);
  }
}

template <typename To, typename From>
void unpad_pixels(To* __restrict to, int64_t stride_x, int64_t stride_c,
                  const From* __restrict from, int64_t n) {
  int64_t k = 0;
  if constexpr (std::is_same_v<To, From>) k = unpad_by_vectors(to, stride_x, stride_c, from, n);
  for (; k < n; ++k)
    for (int c = 0; c < 3; ++c) to[k * stride_x + c * stride_c] = static_cast<To>(from[k * 4 + c]);
}

// -- any conversion -------------------------------------------------------------------------------

template <typename To, typename From>
void copy_pixels(To* __restrict to, int64_t to_x, int64_t to_c, const From* __restrict from,
                 int64_t from_x, int64_t from_c, int64_t n, int64_t C) {
  const bool to_packed = to_c == 1 && to_x == C, from_packed = from_c == 1 && from_x == C;
  if (to_packed && from_packed) {
    for (int64_t k = 0; k < n * C; ++k) to[k] = static_cast<To>(from[k]);
    return;
  }
  if constexpr (std::is_same_v<To, From>) {
    if (to_packed && from_x == 1) return rearrange<true>(to, from, from_c, n, C);
    if (from_packed && to_x == 1) return rearrange<false>(to, from, to_c, n, C);
  }
  for (int64_t start = 0; start < n; start += tile) {
    const int64_t stop = std::min(n, start + tile);
    for (int64_t c = 0; c < C; ++c)
      for (int64_t k = start; k < stop; ++k)
        to[k * to_x + c * to_c] = static_cast<To>(from[k * from_x + c * from_c]);
  }
}

// n pixels from (x, y) on to strides `to_x` and `to_c`.
template <typename A>
void convert(const ImageView& from, int64_t b, int64_t y, int64_t x, int64_t n, int64_t to_x,
             int64_t to_c, A* to) {
  dispatch_dtype(from.dtype, [&](auto* type) {
    const auto* const start = static_cast<decltype(type)>(from.data) + offset_of(from, b, y, x);
    if (from.stride_x == 1)
      for (int64_t c = 0; c < from.C; ++c) prefetch(start + c * from.stride_c + n, n);
    else if (is_packed(from))
      prefetch(start + n * from.C, n * from.C);
    if (from.C == 3 && to_x == 4) return pad_pixels(to, start, from.stride_x, from.stride_c, n);
    copy_pixels(to, to_x, to_c, start, from.stride_x, from.stride_c, n, from.C);
  });
}

template <typename A>
NhwcImages<A> allocate_nhwc(const ImageView& like, int64_t pixel_stride, Tensor& storage) {
  const int64_t stride_b = pixel_stride * like.H * like.W;
  return {allocate<A>(like.B * stride_b, storage), stride_b};
}

}  // namespace

ImageView::ImageView(const Tensor& image)
    : data(const_cast<void*>(image.const_data_ptr())),
      dtype(image.scalar_type()),
      B(image.size(0)),
      C(image.size(1)),
      H(image.size(2)),
      W(image.size(3)),
      stride_b(image.stride(0)),
      stride_c(image.stride(1)),
      stride_y(image.stride(2)),
      stride_x(image.stride(3)) {}

template <typename A>
bool is_nhwc(const ImageView& v, int64_t pixel_stride) {
  return usable_in_place<A>(v, pixel_stride) && (v.stride_y == v.W * v.C || v.H == 1);
}

// -- parts of a row -------------------------------------------------------------------------------

template <typename A>
void copy_row(const ImageView& from, int64_t b, int64_t y, int64_t pixel_stride, A* to) {
  convert(from, b, y, 0, from.W, pixel_stride, 1, to);
}

template <typename A>
const A* read_pixels(const ImageView& from, int64_t b, int64_t y, int64_t x, int64_t n,
                     int64_t pixel_stride, A* copy) {
  if (usable_in_place<A>(from, pixel_stride))
    return static_cast<const A*>(from.data) + offset_of(from, b, y, x);
  convert(from, b, y, x, n, pixel_stride, 1, copy);
  return copy;
}

template <typename A>
A* pixel_buffer(const ImageView& to, int64_t b, int64_t y, int64_t x, int64_t pixel_stride,
                A* copy) {
  if (!usable_in_place<A>(to, pixel_stride)) return copy;
  return static_cast<A*>(to.data) + offset_of(to, b, y, x);
}

template <typename A>
void write_pixels(const ImageView& to, int64_t b, int64_t y, int64_t x, int64_t n,
                  int64_t pixel_stride, const A* from) {
  if (from == pixel_buffer<A>(to, b, y, x, pixel_stride, nullptr)) return;
  dispatch_dtype(to.dtype, [&](auto* type) {
    auto* const start = static_cast<decltype(type)>(to.data) + offset_of(to, b, y, x);
    if (to.C == 3 && pixel_stride == 4)
      return unpad_pixels(start, to.stride_x, to.stride_c, from, n);
    copy_pixels(start, to.stride_x, to.stride_c, from, pixel_stride, 1, n, to.C);
  });
}

template <typename A>
void read_planes(const ImageView& from, int64_t b, int64_t y, int64_t x, int64_t n,
                 int64_t plane_stride, A* copy, const A** planes) {
  const bool in_place = from.dtype == dtype_of<A> && from.stride_x == 1;
  const A* const start =
      in_place ? static_cast<const A*>(from.data) + offset_of(from, b, y, x) : copy;
  const int64_t stride = in_place ? from.stride_c : plane_stride;
  for (int64_t c = 0; c < from.C; ++c) planes[c] = start + c * stride;
  if (!in_place) copy_planes(from, b, y, x, n, plane_stride, copy);
}

template <typename A>
void copy_planes(const ImageView& from, int64_t b, int64_t y, int64_t x, int64_t n,
                 int64_t plane_stride, A* to) {
  convert(from, b, y, x, n, 1, plane_stride, to);
}

template <typename A>
void write_planes(const ImageView& to, int64_t b, int64_t y, const A* from, int64_t plane_stride) {
  dispatch_dtype(to.dtype, [&](auto* type) {
    using To = std::remove_pointer_t<decltype(type)>;
    To* const start = static_cast<To*>(to.data) + offset_of(to, b, y, 0);
    if (to.stride_x == 1) {
      for (int64_t c = 0; c < to.C; ++c)
        for (int64_t x = 0; x < to.W; ++x)
          start[c * to.stride_c + x] = static_cast<To>(from[c * plane_stride + x]);
      return;
    }
    for (int64_t x0 = 0; x0 < to.W; x0 += 16)  // a cache line of each plane at a time
      for (int64_t c = 0; c < to.C; ++c)
        for (int64_t x = x0; x < std::min(x0 + 16, to.W); ++x)
          start[x * to.stride_x + c * to.stride_c] = static_cast<To>(from[c * plane_stride + x]);
  });
}

// -- whole images ---------------------------------------------------------------------------------

template <typename A>
NhwcImages<A> to_nhwc(const ImageView& from, int64_t pixel_stride, Tensor& storage) {
  if (is_nhwc<A>(from, pixel_stride)) return {static_cast<A*>(from.data), from.stride_b};
  const NhwcImages<A> to = allocate_nhwc<A>(from, pixel_stride, storage);
  for_rows(from.B, from.H, from.W * from.C, [&](int64_t b, int64_t y) {
    copy_row(from, b, y, pixel_stride, to.image(b) + y * from.W * pixel_stride);
  });
  return to;
}

template <typename A>
NhwcImages<A> nhwc_buffer(const ImageView& to, Tensor& storage) {
  if (is_nhwc<A>(to, to.C)) return {static_cast<A*>(to.data), to.stride_b};
  return allocate_nhwc<A>(to, to.C, storage);
}

template <typename A>
void from_nhwc(const NhwcImages<A>& from, const ImageView& to) {
  if (from.data == to.data) return;
  for_rows(to.B, to.H, to.W * to.C, [&](int64_t b, int64_t y) {
    const A* const row = from.image(b) + y * to.W * to.C;
    write_pixels(to, b, y, 0, to.W, to.C, row);
  });
}

#define LIFT_PIXELS(A)                                                                             \
  template bool is_nhwc<A>(const ImageView&, int64_t);                                             \
  template void copy_row<A>(const ImageView&, int64_t, int64_t, int64_t, A*);                      \
  template const A* read_pixels<A>(const ImageView&, int64_t, int64_t, int64_t, int64_t, int64_t,  \
                                   A*);                                                            \
  template A* pixel_buffer<A>(const ImageView&, int64_t, int64_t, int64_t, int64_t, A*);           \
  template void write_pixels<A>(const ImageView&, int64_t, int64_t, int64_t, int64_t, int64_t,     \
                                const A*);                                                         \
  template void read_planes<A>(const ImageView&, int64_t, int64_t, int64_t, int64_t, int64_t, A*,  \
                               const A**);                                                         \
  template void copy_planes<A>(const ImageView&, int64_t, int64_t, int64_t, int64_t, int64_t, A*); \
  template void write_planes<A>(const ImageView&, int64_t, int64_t, const A*, int64_t);            \
  template NhwcImages<A> to_nhwc<A>(const ImageView&, int64_t, Tensor&);                           \
  template NhwcImages<A> nhwc_buffer<A>(const ImageView&, Tensor&);                                \
  template void from_nhwc<A>(const NhwcImages<A>&, const ImageView&);

LIFT_PIXELS(float)
LIFT_PIXELS(double)

}  // namespace lift
