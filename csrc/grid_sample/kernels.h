// The gradients of grid_sample on the CPU; A is float, or double for double inputs.
#pragma once

#include "grid_sample_reads.h"
#include "pixels.h"

namespace lift {

// dgrid (B, h, w, 2), contiguous, bilinear only.
template <typename A>
void grid_sample_backward_grid(const Sampling<A>& s, const Pixels<A>& input, const View& grad, A* dgrid);

// dinput (B, H, W, C). What is added at one place is added by one thread, in the order of the pixels of the result, so a gradient's bits
// depend on neither the number of threads nor chance.
template <typename A>
void grid_sample_backward_input(const Sampling<A>& s, const View& grad, const Pixels<A>& dinput);

constexpr int few_channels = 8;  // fewer than these are too few for vectors over the channels of a pixel

// Both where channels are few: input, dinput (B, C, H, W) and grad (B, C, h, w) of any layout and type, dgrid (B, h, w, 2) contiguous, with
// the same promise; input and dgrid null where the one is not asked for, dinput where the other is not. An image has less than 2^31 values,
// with a row and a column more at either side.
template <typename A>
void grid_sample_backward_few(const Sampling<A>& s, const View* input, const View& grad, const View* dinput, A* dgrid);

// Both where each channel is a plane: input (B, C, H, W), needed for dgrid alone; grad (B, C, h, w); dinput like input and dgrid
// (B, h, w, 2) with the same promise, null where not asked for; all contiguous. A plane has less than 2^31 pixels.
template <typename A>
void grid_sample_backward_planes(const Sampling<A>& s, const A* input, const A* grad, A* dinput, A* dgrid);

// Whether most strips are read along so few straight runs that planes are the quicker way.
template <typename A>
bool mostly_smooth(const Sampling<A>& s);

}  // namespace lift
