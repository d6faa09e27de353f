// Images as the kernels read and write them: NHWC, in the accumulate type.
//
// A read at any position then fetches a whole pixel, where planes would be gathered value by value,
// and all arithmetic is vectors over channels. Channels-last images are used in place; others are
// converted, at the cost of reading and writing them once.
//
// `pixel_stride` is the number of values from pixel to pixel. It may exceed C: three channels are
// stored as four, so that a pixel is one vector. The fourth value is zero.
#pragma once

#include <torch/csrc/stable/tensor.h>

#include <cstdint>

#include "tensors.h"

namespace lift {

// An image (B, C, H, W) of any floating dtype and any strides (in elements).
struct ImageView {
  void* data;
  ScalarType dtype;
  int64_t B, C, H, W;
  int64_t stride_b, stride_c, stride_y, stride_x;

  explicit ImageView(const Tensor& image);
};

// Whether the rows of an image are NHWC and of type A already.
template <typename A>
bool is_nhwc(const ImageView& image, int64_t pixel_stride);

// -- parts of a row -------------------------------------------------------------------------------

// Copy row y as (W, pixel_stride).
template <typename A>
void copy_row(const ImageView& from, int64_t b, int64_t y, int64_t pixel_stride, A* to);

// n pixels from (x, y) on as (n, pixel_stride): in place if possible, else in `copy`.
template <typename A>
const A* read_pixels(const ImageView& from, int64_t b, int64_t y, int64_t x, int64_t n,
                     int64_t pixel_stride, A* copy);

// Where to write n pixels from (x, y) on, as (n, pixel_stride): in place if possible, else `copy`.
// `write_pixels` then converts them, where they are not in place.
template <typename A>
A* pixel_buffer(const ImageView& to, int64_t b, int64_t y, int64_t x, int64_t pixel_stride,
                A* copy);

template <typename A>
void write_pixels(const ImageView& to, int64_t b, int64_t y, int64_t x, int64_t n,
                  int64_t pixel_stride, const A* from);

// n pixels from (x, y) on as planes, `planes[c]` for channel c: in place if possible,
// else in `copy`, as (C, plane_stride).
template <typename A>
void read_planes(const ImageView& from, int64_t b, int64_t y, int64_t x, int64_t n,
                 int64_t plane_stride, A* copy, const A** planes);

template <typename A>
void copy_planes(const ImageView& from, int64_t b, int64_t y, int64_t x, int64_t n,
                 int64_t plane_stride, A* to);

// Write planes (C, plane_stride) of row y.
template <typename A>
void write_planes(const ImageView& to, int64_t b, int64_t y, const A* from, int64_t plane_stride);

// -- whole images ---------------------------------------------------------------------------------

// Images (B, H, W, pixel_stride).
template <typename A>
struct NhwcImages {
  A* data = nullptr;
  int64_t stride_b = 0;

  A* image(int64_t b) const { return data + b * stride_b; }
};

// The images in place if possible, else a copy that lives as long as `storage`.
template <typename A>
NhwcImages<A> to_nhwc(const ImageView& from, int64_t pixel_stride, Tensor& storage);

// Images (B, H, W, C) to write to: in place if possible, else uninitialised memory that lives as
// long as `storage`. `from_nhwc` then converts them, where they are not in place.
template <typename A>
NhwcImages<A> nhwc_buffer(const ImageView& to, Tensor& storage);

template <typename A>
void from_nhwc(const NhwcImages<A>& from, const ImageView& to);

}  // namespace lift
