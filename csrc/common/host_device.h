// LIFT_HD marks small functions that host and device code share; they are always inlined.
#pragma once

#if defined(__CUDACC__)
#define LIFT_HD __host__ __device__ __forceinline__
#else
#define LIFT_HD inline __attribute__((always_inline))
#endif
