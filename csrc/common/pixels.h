// Images as the kernels want them: the channels of a pixel side by side (B, H, W, C), in the type of arithmetic.
//
// A read at any place then brings in a whole pixel, where planes would have it gathered a value at a time, and all arithmetic is vectors
// over channels. Channels-last images are used where they lie; others are copied so, at the cost of reading and writing them once.
#pragma once

#include <torch/csrc/stable/tensor.h>
#include <torch/headeronly/core/ScalarType.h>

#include <cstdint>

namespace lift {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;

// An image (B, C, H, W) of any floating type, wherever it lies; strides in elements.
struct View {
  void* data;
  ScalarType dtype;
  int64_t B, C, H, W;
  int64_t batch, channel, row, column;

  explicit View(const Tensor& image);
};

template <typename A>
constexpr ScalarType dtype_of = sizeof(A) == 8 ? ScalarType::Double : ScalarType::Float;

// Pixels may also lie further `apart` than their C values: three channels as four, so that a pixel is one vector. The fourth is zero.

// Whether an image's rows of pixels lie one after the other, as the kernels want them.
template <typename A>
bool in_place(const View& image, int64_t apart);

// A row of pixels, as (W, apart).
template <typename A>
void copy_row(const View& from, int64_t b, int64_t y, int64_t apart, A* to);

// n pixels from (x, y) on, as (n, apart): where they lie if they lie so, else converted into `copy`.
template <typename A>
const A* read_pixels(const View& from, int64_t b, int64_t y, int64_t x, int64_t n, int64_t apart, A* copy);


template <typename A>
void read_planes(const View& from, int64_t b, int64_t y, int64_t x, int64_t n, int64_t apart, A* copy, const A** rows);

template <typename A>
void copy_planes(const View& from, int64_t b, int64_t y, int64_t x, int64_t n, int64_t apart, A* to);

// The same as `read_pixels` the other way: where `to` wants n pixels from (x, y) on, which is `to` itself or `copy`; `write_pixels` then
// takes them over from there.
template <typename A>
A* place_for_pixels(const View& to, int64_t b, int64_t y, int64_t x, int64_t apart, A* copy);

template <typename A>
void write_pixels(const View& to, int64_t b, int64_t y, int64_t x, int64_t n, int64_t apart, const A* from);

// Whole images as (B, H, W, apart).
template <typename A>
struct Pixels {
  A* data = nullptr;
  int64_t batch = 0;  // distance of images, in elements

  const A* image(int64_t b) const { return data + b * batch; }
  A* image(int64_t b) { return data + b * batch; }
};

// Where the images lie if they lie so, else a copy that lives as long as `room`.
template <typename A>
Pixels<A> gather_pixels(const View& from, int64_t apart, Tensor& room);

// The same the other way, as (B, H, W, C): where `to` has its images if it has them so, else unwritten memory that lives as long as
// `room`; `deliver_pixels` then takes it over.
template <typename A>
Pixels<A> room_for_pixels(const View& to, Tensor& room);

template <typename A>
void deliver_pixels(const Pixels<A>& from, const View& to);

}  // namespace lift
