// The gradients of grid_sample on the CPU; A is float, or double for double inputs.
//
// Each value of a gradient is summed by one thread, in the order of the pixels of the result:
// its bits depend on neither the number of threads nor their timing.
// dgrid is (B, h, w, 2), contiguous, and for bilinear only. What is null is not computed.
#pragma once

#include "../common/pixels.h"
#include "coords.h"

namespace lift {

// With fewer channels vectors over the channels of a pixel do not pay.
constexpr int min_vector_channels = 8;

// -- NHWC -----------------------------------------------------------------------------------------

// input (B, H, W, C), grad (B, C, h, w) of any layout.
template <typename A>
void grid_sample_backward_grid_nhwc(const GridSampleParams<A>& p, const NhwcImages<A>& input,
                                    const ImageView& grad, A* dgrid);

// dinput (B, H, W, C).
template <typename A>
void grid_sample_backward_input_nhwc(const GridSampleParams<A>& p, const ImageView& grad,
                                     const NhwcImages<A>& dinput);

// -- NCHW -----------------------------------------------------------------------------------------

// Both gradients. A plane has fewer than 2^31 pixels.
//
// inputs: input (B, C, H, W), for dgrid only; grad (B, C, h, w); contiguous
// gradients: dinput (B, C, H, W), contiguous; dgrid
template <typename A>
void grid_sample_backward_nchw(const GridSampleParams<A>& p, const A* input, const A* grad,
                               A* dinput, A* dgrid);

// Whether the grid is so smooth that NCHW is the faster way: most strips sample a few straight runs
// of pixels.
template <typename A>
bool is_mostly_smooth(const GridSampleParams<A>& p);

// -- fewer than min_vector_channels ---------------------------------------------------------------

// Both gradients. An image with a border of one pixel has fewer than 2^31 values.
//
// inputs: input (B, C, H, W), for dgrid only; grad (B, C, h, w); of any layout and dtype
// gradients: dinput (B, C, H, W), of any layout and dtype; dgrid
template <typename A>
void grid_sample_backward_few_channels(const GridSampleParams<A>& p, const ImageView* input,
                                       const ImageView& grad, const ImageView* dinput, A* dgrid);

}  // namespace lift
