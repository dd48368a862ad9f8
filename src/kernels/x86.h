/* x86.h - which processor features the kernels go by. */
#ifndef IFLOW_KERNELS_X86_H
#define IFLOW_KERNELS_X86_H

#include <stdbool.h>

#if defined(__x86_64__)

/* And F16C, which is older. */
static inline bool iflow_x86_has_avx2(void) {
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
}

/* Besides what AVX2 asks for. */
static inline bool iflow_x86_has_avx512(void) {
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
           __builtin_cpu_supports("avx512vl");
}

#endif

#endif
