// Which instruction sets the kernels were compiled for.
#pragma once

namespace lift {

// The instruction sets beyond the processor family's baseline, such as "avx2 fma ".
// It is data, so that reading it executes none of them.
extern const char* const cpu_features;

}  // namespace lift
