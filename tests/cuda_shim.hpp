// What a CUDA kernel finds in the language, for g++: included before a kernel's source by tests/cuda_shim.py. Knows no
// kernel. One OS thread runs every block in turn (tests/cuda_shim.cpp), so shared memory is static and an atomic plain.
// Shared memory is found as the library's .bss, which every block finds filled with 0xff: a kernel can have no writable
// __device__ variable of its own.
#pragma once
#include <string.h>

#define AGAUSS_SHIM 1
#define __global__
#define __device__
#define __host__
#define __constant__
#define __grid_constant__
#define __launch_bounds__(...)
#define __shared__ static
#define __align__(n) __attribute__((aligned(n)))
#define __forceinline__ inline __attribute__((always_inline))

typedef unsigned long long agauss_bits;
struct uint3 { unsigned x, y, z; };
extern "C" {
extern uint3 threadIdx, blockIdx, blockDim, gridDim;
void __syncthreads();
void agauss_syncwarp(unsigned mask);
agauss_bits agauss_shuffle(unsigned mask, agauss_bits value, unsigned source_lane);

// Built into g++: without <math.h>, which takes longer to compile than a kernel.
float fmaf(float, float, float), sqrtf(float), fabsf(float), rintf(float), floorf(float), fminf(float, float);
double fma(double, double, double), sqrt(double), fabs(double), rint(double), floor(double), fmin(double, double);
float fmaxf(float, float);
double fmax(double, double);
}

template <class To, class From> __forceinline__ To agauss_cast(From from) {
    static_assert(sizeof(To) == sizeof(From));
    To to;
    memcpy(&to, &from, sizeof to);
    return to;
}
__forceinline__ int __float_as_int(float v) { return agauss_cast<int>(v); }
__forceinline__ float __int_as_float(int v) { return agauss_cast<float>(v); }
__forceinline__ unsigned __float_as_uint(float v) { return agauss_cast<unsigned>(v); }
__forceinline__ float __uint_as_float(unsigned v) { return agauss_cast<float>(v); }
__forceinline__ long long __double_as_longlong(double v) { return agauss_cast<long long>(v); }
__forceinline__ double __longlong_as_double(long long v) { return agauss_cast<double>(v); }

__forceinline__ float fma(float a, float b, float c) { return __builtin_fmaf(a, b, c); }
__forceinline__ float __fmaf_rn(float a, float b, float c) { return __builtin_fmaf(a, b, c); }
__forceinline__ float truncf(float x) { return __builtin_truncf(x); }
__forceinline__ double trunc(double x) { return __builtin_trunc(x); }
__forceinline__ double __fma_rn(double a, double b, double c) { return __builtin_fma(a, b, c); }
__forceinline__ float __fsqrt_rn(float v) { return __builtin_sqrtf(v); }
__forceinline__ double __dsqrt_rn(double v) { return __builtin_sqrt(v); }
__forceinline__ float __uint2float_rn(unsigned v) { return float(v); }
__forceinline__ float __int2float_rn(int v) { return float(v); }
__forceinline__ double __ull2double_rn(unsigned long long v) { return double(v); }
__forceinline__ double __ll2double_rn(long long v) { return double(v); }
__forceinline__ double __int2double_rn(int v) { return double(v); }
__forceinline__ float __double2float_rn(double v) { return float(v); }
__forceinline__ unsigned __umulhi(unsigned a, unsigned b) { return unsigned(agauss_bits(a) * b >> 32); }
__forceinline__ agauss_bits __umul64hi(agauss_bits a, agauss_bits b) {
    return agauss_bits((unsigned __int128)a * b >> 64);
}

// CUDA's alignments, which -fsanitize=alignment holds every access to.
#define AGAUSS_VECTORS(T, name) \
    struct alignas(2 * sizeof(T)) name##2 { T x, y; }; \
    struct alignas(16) name##4 { T x, y, z, w; }; \
    __forceinline__ name##2 make_##name##2(T x, T y) { return {x, y}; } \
    __forceinline__ name##4 make_##name##4(T x, T y, T z, T w) { return {x, y, z, w}; }
AGAUSS_VECTORS(int, int)
AGAUSS_VECTORS(unsigned, uint)
AGAUSS_VECTORS(float, float)
AGAUSS_VECTORS(double, double)
template <class T> __forceinline__ T __ldg(const T* p) { return *p; }
template <class T> __forceinline__ T __ldcs(const T* p) { return *p; }
template <class T> __forceinline__ T __ldcg(const T* p) { return *p; }
template <class T> __forceinline__ void __stcg(T* p, T v) { *p = v; }
template <class T> __forceinline__ void __stcs(T* p, T v) { *p = v; }
template <class T> __forceinline__ void __stwb(T* p, T v) { *p = v; }

__forceinline__ void __threadfence() { __asm__ volatile("" ::: "memory"); }
__forceinline__ unsigned atomicAdd(unsigned* p, unsigned v) { return (*p += v) - v; }
__forceinline__ void __syncwarp(unsigned mask = ~0u) { agauss_syncwarp(mask); }
template <class T> __forceinline__ T __shfl_sync(unsigned mask, T v, int lane) {
    agauss_bits bits = 0;
    static_assert(sizeof v == 4 || sizeof v == 8);
    memcpy(&bits, &v, sizeof v);
    bits = agauss_shuffle(mask, bits, unsigned(lane) % 32);
    memcpy(&v, &bits, sizeof v);
    return v;
}
template <class T> __forceinline__ T __shfl_xor_sync(unsigned mask, T v, int lane_mask) {
    return __shfl_sync(mask, v, int(threadIdx.x % 32) ^ lane_mask);
}
template <class T> __forceinline__ T __shfl_down_sync(unsigned mask, T v, unsigned delta) {
    const unsigned lane = threadIdx.x % 32;  // past the warp's end a lane gets its own value
    return __shfl_sync(mask, v, lane + delta < 32 ? lane + delta : lane);
}

// IEEE binary16 by integers, as not every g++ has _Float16. To a half in one rounding, to nearest, ties to even.
inline float half_to_float(unsigned short h) {
    const unsigned sign = (h & 0x8000u) << 16, exponent = h >> 10 & 31, fraction = h & 0x3ff;
    if (exponent == 31) return __uint_as_float(sign | 0x7f800000 | fraction << 13 | (fraction ? 0x400000 : 0));
    if (exponent == 0) return __uint_as_float(sign | __float_as_uint(float(fraction) * 0x1p-24f));
    return __uint_as_float(sign | (exponent + 112) << 23 | fraction << 13);
}
inline unsigned short double_to_half(double v) {
    const agauss_bits bits = agauss_cast<agauss_bits>(v), fraction = bits & 0xfffffffffffffull;
    const unsigned sign = unsigned(bits >> 48) & 0x8000, exponent = unsigned(bits >> 52) & 0x7ff;
    if (exponent == 0x7ff && fraction) return sign | 0x7e00 | unsigned(fraction >> 42);
    if (exponent > 1023 + 15) return sign | 0x7c00;
    if (exponent < 1023 - 25) return sign;
    const bool normal = exponent >= 1023 - 14;
    const unsigned shift = normal ? 42 : 42 + (1023 - 14) - exponent;
    const agauss_bits whole = fraction | 1ull << 52, rest = whole & ((1ull << shift) - 1), tie = 1ull << (shift - 1);
    // A normal number's leading bit adds the last 1 to its exponent, and rounding up may carry into it, up to infinity.
    const unsigned down = (normal ? (exponent - 1023 + 14) << 10 : 0) + unsigned(whole >> shift);
    return sign | (down + (rest > tie || (rest == tie && (down & 1))));
}
inline unsigned short float_to_half(float v) { return double_to_half(v); }

// What the harness calls, whatever the type of the kernel's only argument: follows the source.
template <class Work> __forceinline__ void agauss_call(void (*kernel)(Work), const void* work) {
    kernel(*(const Work*)work);
}
template <class Work> constexpr unsigned long long agauss_size(void (*)(Work)) { return sizeof(Work); }
#define AGAUSS_EXPORT __attribute__((visibility("default")))
#define AGAUSS_ENTRY \
    extern "C" { \
    extern __attribute__((visibility("hidden"))) char __bss_start[], _end[]; \
    AGAUSS_EXPORT void agauss_entry(const void* work) { agauss_call(agauss_kernel, work); } \
    AGAUSS_EXPORT unsigned long long agauss_work_size() { return agauss_size(agauss_kernel); } \
    AGAUSS_EXPORT void agauss_spoil_shared() { memset(__bss_start, 0xff, _end - __bss_start); } \
    }
