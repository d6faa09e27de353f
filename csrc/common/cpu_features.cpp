// Compiled with the flags of the kernels, unlike bindings.cpp.
#include "cpu_features.h"

namespace lift {

const char* const cpu_features =
    ""
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
