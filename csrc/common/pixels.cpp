#include "pixels.h"

#include <torch/csrc/stable/ops.h>
#include <torch/headeronly/util/BFloat16.h>
#include <torch/headeronly/util/Exception.h>
#include <torch/headeronly/util/Half.h>

#include <algorithm>
#include <array>
#include <type_traits>

#include "lanes.h"
#include "rows.h"

namespace lift {
namespace {

constexpr int64_t tile = 128;  // pixels that are rearranged at a time, so that they and all their channels stay in the cache

// Call work(I) with a null pointer to the type of the image.
template <typename F>
void with_type(ScalarType dtype, const F& work) {
  switch (dtype) {
    case ScalarType::Float: return work(static_cast<float*>(nullptr));
    case ScalarType::Double: return work(static_cast<double*>(nullptr));
    case ScalarType::BFloat16: return work(static_cast<c10::BFloat16*>(nullptr));
    case ScalarType::Half: return work(static_cast<c10::Half*>(nullptr));
    default: STD_TORCH_CHECK(false, "images must be float32, float64, float16 or bfloat16");
  }
}

// Whether pixels lie side by side, each with its channels side by side.
bool packed(const View& v) { return (v.channel == 1 || v.C == 1) && (v.column == v.C || v.W == 1); }

int64_t place(const View& v, int64_t b, int64_t y, int64_t x) { return b * v.batch + y * v.row + x * v.column; }

template <typename A>
struct Four {
  Lanes<A, 4> lanes[4];
};

// Four channels of four pixels, from planes to pixels or the other way.
template <typename A>
LIFT_HD Four<A> transpose(Lanes<A, 4> a, Lanes<A, 4> b, Lanes<A, 4> c, Lanes<A, 4> d) {
  const Lanes<A, 4> ab = __builtin_shufflevector(a, b, 0, 4, 1, 5), cd = __builtin_shufflevector(c, d, 0, 4, 1, 5);
  const Lanes<A, 4> ab2 = __builtin_shufflevector(a, b, 2, 6, 3, 7), cd2 = __builtin_shufflevector(c, d, 2, 6, 3, 7);
  return {{__builtin_shufflevector(ab, cd, 0, 1, 4, 5), __builtin_shufflevector(ab, cd, 2, 3, 6, 7),
           __builtin_shufflevector(ab2, cd2, 0, 1, 4, 5), __builtin_shufflevector(ab2, cd2, 2, 3, 6, 7)}};
}

// The same in memory; strides of planes and of pixels.
template <typename A>
LIFT_HD void transpose(A* to, int64_t to_stride, const A* from, int64_t from_stride) {
  constexpr Width<4, 4> four;
  const Four<A> made = transpose<A>(load(from, four), load(from + from_stride, four), load(from + 2 * from_stride, four),
                                    load(from + 3 * from_stride, four));
  for (int i = 0; i < 4; ++i) store<A>(to + i * to_stride, made.lanes[i], four);
}

// n pixels of few channels, a number that the compiler knows, from planes to pixels (`packing`) or the other way.
template <int C, bool packing, typename A>
void interleave(A* __restrict to, const A* __restrict from, int64_t plane, int64_t n) {
  for (int64_t k = 0; k < n; ++k)
    for (int c = 0; c < C; ++c) {
      if constexpr (packing)
        to[k * C + c] = from[c * plane + k];
      else
        to[c * plane + k] = from[k * C + c];
    }
}

// n pixels of C channels of one type, from planes to pixels (`packing`) or the other way.
template <bool packing, typename A>
void rearrange(A* __restrict to, const A* __restrict from, int64_t plane, int64_t n, int64_t C) {
  if (C == 1) return interleave<1, packing>(to, from, plane, n);
  if (C == 2) return interleave<2, packing>(to, from, plane, n);
  if (C == 3) return interleave<3, packing>(to, from, plane, n);
  const int64_t to_column = packing ? C : 1, to_channel = packing ? 1 : plane;
  const int64_t from_column = packing ? 1 : C, from_channel = packing ? plane : 1;
  for (int64_t start = 0; start < n; start += tile) {
    const int64_t stop = std::min(n, start + tile), fours = start + (stop - start) / 4 * 4;
    for (int64_t c = 0; c < C; c += 4) {
      const bool whole = c + 4 <= C;
      for (int64_t k = start; whole && k < fours; k += 4)
        transpose(to + k * to_column + c * to_channel, packing ? C : plane, from + k * from_column + c * from_channel, packing ? plane : C);
      for (int64_t rest = c; rest < std::min(C, c + 4); ++rest)
        for (int64_t k = whole ? fours : start; k < stop; ++k)
          to[k * to_column + rest * to_channel] = from[k * from_column + rest * from_channel];
    }
  }
}

// Three channels of pixels that lie as planes or side by side, to four values a pixel of which the last is zero: as many of n pixels as
// whole vectors take. Returns their number.
template <typename A>
int64_t widen_quickly(A* __restrict to, const A* __restrict from, int64_t column, int64_t channel, int64_t n) {
  constexpr Width<4, 4> four;
  int64_t k = 0;
  for (; column == 1 && k + 4 <= n; k += 4) {
    const A* const first = from + k;
    const Four<A> pixels = transpose<A>(load(first, four), load(first + channel, four), load(first + 2 * channel, four), Lanes<A, 4>{});
    for (int i = 0; i < 4; ++i) store<A>(to + (k + i) * 4, pixels.lanes[i], four);
  }
  for (; column == 3 && channel == 1 && k + 1 < n; ++k) {  // the next pixel's first value comes along
    Lanes<A, 4> pixel = load(from + k * 3, four);
    pixel[3] = A(0);
    store<A>(to + k * 4, pixel, four);
  }
  return k;
}

// The other way.
template <typename A>
int64_t narrow_quickly(A* __restrict to, int64_t column, int64_t channel, const A* __restrict from, int64_t n) {
  constexpr Width<4, 4> four;
  int64_t k = 0;
  for (; column == 1 && k + 4 <= n; k += 4) {
    const A* const pixels = from + k * 4;
    const Four<A> planes = transpose<A>(load(pixels, four), load(pixels + 4, four), load(pixels + 8, four), load(pixels + 12, four));
    for (int c = 0; c < 3; ++c) store<A>(to + k + c * channel, planes.lanes[c], four);
  }
  // The next pixel overwrites the fourth value.
  for (; column == 3 && channel == 1 && k + 1 < n; ++k) store<A>(to + k * 3, load(from + k * 4, four), four);
  return k;
}

// The same of all pixels, of any layout and type.
template <typename To, typename From>
void widen(To* __restrict to, const From* __restrict from, int64_t column, int64_t channel, int64_t n) {
  int64_t k = 0;
  if constexpr (std::is_same_v<To, From>) k = widen_quickly(to, from, column, channel, n);
  for (; k < n; ++k) {
    for (int c = 0; c < 3; ++c) to[k * 4 + c] = static_cast<To>(from[k * column + c * channel]);
    to[k * 4 + 3] = To(0);
  }
}

template <typename To, typename From>
void narrow(To* __restrict to, int64_t column, int64_t channel, const From* __restrict from, int64_t n) {
  int64_t k = 0;
  if constexpr (std::is_same_v<To, From>) k = narrow_quickly(to, column, channel, from, n);
  for (; k < n; ++k)
    for (int c = 0; c < 3; ++c) to[k * column + c * channel] = static_cast<To>(from[k * 4 + c]);
}

template <typename To, typename From>
void copy_pixels(To* __restrict to, int64_t to_column, int64_t to_channel, const From* __restrict from, int64_t from_column,
                 int64_t from_channel, int64_t n, int64_t C) {
  const bool to_packed = to_channel == 1 && to_column == C, from_packed = from_channel == 1 && from_column == C;
  if (to_packed && from_packed) {
    for (int64_t k = 0; k < n * C; ++k) to[k] = static_cast<To>(from[k]);
    return;
  }
  if constexpr (std::is_same_v<To, From>) {
    if (to_packed && from_column == 1) return rearrange<true>(to, from, from_channel, n, C);
    if (from_packed && to_column == 1) return rearrange<false>(to, from, to_channel, n, C);
  }
  for (int64_t start = 0; start < n; start += tile) {
    const int64_t stop = std::min(n, start + tile);
    for (int64_t c = 0; c < C; ++c)
      for (int64_t k = start; k < stop; ++k) to[k * to_column + c * to_channel] = static_cast<To>(from[k * from_column + c * from_channel]);
  }
}

template <typename A>
Pixels<A> new_pixels(const View& like, int64_t apart, Tensor& room) {
  const std::array<int64_t, 1> size{like.B * apart * like.H * like.W};
  room = torch::stable::empty({size.data(), 1}, dtype_of<A>);
  return {static_cast<A*>(room.mutable_data_ptr()), apart * like.H * like.W};
}

}  // namespace

View::View(const Tensor& image)
    : data(const_cast<void*>(image.const_data_ptr())), dtype(image.scalar_type()), B(image.size(0)), C(image.size(1)), H(image.size(2)),
      W(image.size(3)), batch(image.stride(0)), channel(image.stride(1)), row(image.stride(2)), column(image.stride(3)) {}

template <typename A>
bool in_place(const View& v, int64_t apart) {
  return v.dtype == dtype_of<A> && apart == v.C && packed(v) && (v.row == v.W * v.C || v.H == 1);
}

namespace {

template <typename A>
void convert(const View& from, int64_t b, int64_t y, int64_t x, int64_t n, int64_t column, int64_t channel, A* to) {
  with_type(from.dtype, [&](auto* type) {
    const auto* const start = static_cast<decltype(type)>(from.data) + place(from, b, y, x);
    if (from.column == 1)
      for (int64_t c = 0; c < from.C; ++c) expect(start + c * from.channel + n, n);
    else if (packed(from))
      expect(start + n * from.C, n * from.C);
    if (from.C == 3 && column == 4) return widen(to, start, from.column, from.channel, n);
    copy_pixels(to, column, channel, start, from.column, from.channel, n, from.C);
  });
}

}  // namespace

template <typename A>
void copy_row(const View& from, int64_t b, int64_t y, int64_t apart, A* to) {
  convert(from, b, y, 0, from.W, apart, 1, to);
}

template <typename A>
const A* read_pixels(const View& from, int64_t b, int64_t y, int64_t x, int64_t n, int64_t apart, A* copy) {
  if (from.dtype == dtype_of<A> && apart == from.C && packed(from)) return static_cast<const A*>(from.data) + place(from, b, y, x);
  convert(from, b, y, x, n, apart, 1, copy);
  return copy;
}

template <typename A>
void read_planes(const View& from, int64_t b, int64_t y, int64_t x, int64_t n, int64_t apart, A* copy, const A** rows) {
  const bool there = from.dtype == dtype_of<A> && from.column == 1;
  const A* const start = there ? static_cast<const A*>(from.data) + place(from, b, y, x) : copy;
  for (int64_t c = 0; c < from.C; ++c) rows[c] = start + c * (there ? from.channel : apart);
  if (!there) copy_planes(from, b, y, x, n, apart, copy);
}

template <typename A>
void copy_planes(const View& from, int64_t b, int64_t y, int64_t x, int64_t n, int64_t apart, A* to) {
  convert(from, b, y, x, n, 1, apart, to);
}

template <typename A>
A* place_for_pixels(const View& to, int64_t b, int64_t y, int64_t x, int64_t apart, A* copy) {
  return to.dtype == dtype_of<A> && apart == to.C && packed(to) ? static_cast<A*>(to.data) + place(to, b, y, x) : copy;
}

template <typename A>
void write_pixels(const View& to, int64_t b, int64_t y, int64_t x, int64_t n, int64_t apart, const A* from) {
  if (from == place_for_pixels<A>(to, b, y, x, apart, nullptr)) return;
  with_type(to.dtype, [&](auto* type) {
    auto* const start = static_cast<decltype(type)>(to.data) + place(to, b, y, x);
    if (to.C == 3 && apart == 4) return narrow(start, to.column, to.channel, from, n);
    copy_pixels(start, to.column, to.channel, from, apart, 1, n, to.C);
  });
}

template <typename A>
Pixels<A> gather_pixels(const View& from, int64_t apart, Tensor& room) {
  if (in_place<A>(from, apart)) return {static_cast<A*>(from.data), from.batch};
  Pixels<A> to = new_pixels<A>(from, apart, room);
  for_rows(from.B, from.H, from.W * from.C, [&](int64_t b, int64_t y) {
    copy_row(from, b, y, apart, to.image(b) + y * from.W * apart);
  });
  return to;
}

template <typename A>
Pixels<A> room_for_pixels(const View& to, Tensor& room) {
  return in_place<A>(to, to.C) ? Pixels<A>{static_cast<A*>(to.data), to.batch} : new_pixels<A>(to, to.C, room);
}

template <typename A>
void deliver_pixels(const Pixels<A>& from, const View& to) {
  if (from.data == to.data) return;
  for_rows(to.B, to.H, to.W * to.C, [&](int64_t b, int64_t y) { write_pixels(to, b, y, 0, to.W, to.C, from.image(b) + y * to.W * to.C); });
}

#define LIFT_PIXELS(A)                                                                                     \
  template bool in_place<A>(const View&, int64_t);                                                         \
  template void copy_row<A>(const View&, int64_t, int64_t, int64_t, A*);                                   \
  template const A* read_pixels<A>(const View&, int64_t, int64_t, int64_t, int64_t, int64_t, A*);          \
  template void read_planes<A>(const View&, int64_t, int64_t, int64_t, int64_t, int64_t, A*, const A**);   \
  template void copy_planes<A>(const View&, int64_t, int64_t, int64_t, int64_t, int64_t, A*);              \
  template A* place_for_pixels<A>(const View&, int64_t, int64_t, int64_t, int64_t, A*);                    \
  template void write_pixels<A>(const View&, int64_t, int64_t, int64_t, int64_t, int64_t, const A*);       \
  template Pixels<A> gather_pixels<A>(const View&, int64_t, Tensor&);                                      \
  template Pixels<A> room_for_pixels<A>(const View&, Tensor&);                                             \
  template void deliver_pixels<A>(const Pixels<A>&, const View&);

LIFT_PIXELS(float)
LIFT_PIXELS(double)

}  // namespace lift
