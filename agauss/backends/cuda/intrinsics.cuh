// What mathlib.cuh, philox.cuh and formulas.cuh are made of: the bits of floats, exact operations and storage types.
// Each is the function of the same name of cpu/mathlib.py, for float and for double.

namespace agauss {

using Word = unsigned int;
using Long = unsigned long long;

template <class A> struct One { A v0; };
template <class A, class B> struct Two { A v0; B v1; };
template <class A, class B, class C> struct Three { A v0; B v1; C v2; };
template <class A, class B, class C, class D> struct Four { A v0; B v1; C v2; D v3; };
template <class A, class B, class C, class D, class E> struct Five { A v0; B v1; C v2; D v3; E v4; };

template <class A> __device__ __forceinline__ One<A> values(A a) { return {a}; }
template <class A, class B> __device__ __forceinline__ Two<A, B> values(A a, B b) { return {a, b}; }
template <class A, class B, class C>
__device__ __forceinline__ Three<A, B, C> values(A a, B b, C c) { return {a, b, c}; }
template <class A, class B, class C, class D>
__device__ __forceinline__ Four<A, B, C, D> values(A a, B b, C c, D d) { return {a, b, c, d}; }
template <class A, class B, class C, class D, class E>
__device__ __forceinline__ Five<A, B, C, D, E> values(A a, B b, C c, D d, E e) { return {a, b, c, d, e}; }

__device__ __forceinline__ float like(double c, float) { return float(c); }
__device__ __forceinline__ double like(double c, double) { return c; }
__device__ __forceinline__ float inf(float) { return __int_as_float(0x7f800000); }
__device__ __forceinline__ double inf(double) { return __longlong_as_double(0x7ff0000000000000); }
__device__ __forceinline__ float nan(float) { return __int_as_float(0x7fc00000); }
__device__ __forceinline__ double nan(double) { return __longlong_as_double(0x7ff8000000000000); }

template <class T> __device__ __forceinline__ T where(bool condition, T a, T b) { return condition ? a : b; }

__device__ __forceinline__ float fma(float a, float b, float c) { return __fmaf_rn(a, b, c); }
__device__ __forceinline__ double fma(double a, double b, double c) { return __fma_rn(a, b, c); }

// Rounded correctly, for 0 and for normal numbers over 2^-100: the steps of __fsqrt_rn without its way out for others.
__device__ __forceinline__ float sqrt(float x) {
#ifdef AGAUSS_SHIM
    return __fsqrt_rn(x);
#else
    float y;
    asm("rsqrt.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    float root = x * y, half = y * 0.5f;
    return x == 0 ? x : fma(fma(-root, root, x), half, root);
#endif
}
__device__ __forceinline__ double sqrt(double x) { return __dsqrt_rn(x); }

template <class T> __device__ __forceinline__ T horner(T, T c) { return c; }
template <class T, class... C> __device__ __forceinline__ T horner(T x, T c, C... rest) {
    return fma(horner(x, rest...), x, c);
}

// c0 + x (odd(x^2) + x even(x^2)).
template <class T, class... C> __device__ __forceinline__ T by_parity(T x, C... coefficients) {
    const T c[] = {T(coefficients)...};
    constexpr int last = sizeof...(C) - 1, top = last - last % 2;  // of the even powers
    T square = x * x, odd = c[last - 1 + last % 2], even = c[top];
#pragma unroll
    for (int k = last - 3 + last % 2; k > 0; k -= 2) odd = fma(odd, square, c[k]);
#pragma unroll
    for (int k = top - 2; k > 0; k -= 2) even = fma(even, square, c[k]);
    return fma(fma(even, x, odd), x, c[0]);
}

__device__ __forceinline__ float trunc(float x) { return ::truncf(x); }
__device__ __forceinline__ double trunc(double x) { return ::trunc(x); }

__device__ __forceinline__ int bits(float x) { return __float_as_int(x); }
__device__ __forceinline__ long long bits(double x) { return __double_as_longlong(x); }
__device__ __forceinline__ float power_of_two(int n) { return __int_as_float((n + 127) << 23); }
__device__ __forceinline__ double power_of_two(long long n) { return __longlong_as_double((n + 1023) << 52); }

// A whole number, which is added to 1.5 times the largest power of two that leaves it in the low bits.
template <class T> __device__ __forceinline__ auto integer(T n) {
    const T round = T(sizeof(T) == 4 ? 0x1.8p+23 : 0x1.8p+52);
    return bits(n + round) - bits(round);
}

// p * 2^n in two factors, so that a subnormal result is rounded once.
template <class T> __device__ __forceinline__ T scale(T p, T n) {
    auto whole = integer(n), first = whole >> 1;
    return p * power_of_two(first) * power_of_two(whole - first);
}

// 2^(n - 1).
template <class T> __device__ __forceinline__ T power(T n) { return power_of_two(integer(n)); }
template <class T> __device__ __forceinline__ T half_power(T n) { return power_of_two(integer(n) - 1); }

// (k, f) with x = 2^k f and f in [sqrt(1/2), sqrt(2)), for a normal positive x.
__device__ __forceinline__ Two<float, float> split(float x) {
    const int root_half = __float_as_int(0x1.6a09e6p-1f);
    int i = __float_as_int(x) - root_half;
    return {__int2float_rn(i >> 23), __int_as_float((i & 0x7fffff) + root_half)};
}
__device__ __forceinline__ Two<double, double> split(double x) {
    const long long root_half = __double_as_longlong(0x1.6a09e667f3bcdp-1);
    long long i = __double_as_longlong(x) - root_half;
    return {__int2double_rn(int(i >> 52)), __longlong_as_double((i & 0xfffffffffffff) + root_half)};
}

// (word + 1/2) / 2^bits, in (0, 1], of a word that is first rounded to a float.
__device__ __forceinline__ float fraction(Word word, float) { return fma(__uint2float_rn(word), 0x1p-32f, 0x1p-33f); }
__device__ __forceinline__ double fraction(Long word, double) { return fma(__ull2double_rn(word), 0x1p-64, 0x1p-65); }

// How far the turn word / 2^bits is from the nearest quarter, in eighths of a turn: from -1 to below 1.
// The word but for its two upper bits, as a signed number, is that.
__device__ __forceinline__ float eighths(Word word, float) { return __int2float_rn(int(word << 2)) * 0x1p-31f; }
__device__ __forceinline__ double eighths(Long word, double) { return __ll2double_rn((long long)(word << 2)) * 0x1p-63; }

// x with its sign changed where the upper bit of a word is set.
__device__ __forceinline__ float with_sign(float x, Word place) {
    return __int_as_float(__float_as_int(x) ^ int(place & 1u << 31));
}
__device__ __forceinline__ double with_sign(double x, Long place) {
    return __longlong_as_double(__double_as_longlong(x) ^ (long long)(place & 1ull << 63));
}

// (sine, cosine) of the turn word / 2^bits, given those of what it is beyond the nearest quarter. In quarters 2 and 3 the
// sine is negative, in 1 and 2 the cosine: the upper bit of the quarter's number, and of one more.
template <class W, class T> __device__ __forceinline__ Two<T, T> turned(W word, T sine, T cosine) {
    constexpr W quarter = W(1) << (8 * sizeof(W) - 2);
    W place = word + quarter / 2;
    bool odd = (place & quarter) != 0;
    return {with_sign(odd ? cosine : sine, place), with_sign(odd ? sine : cosine, place + quarter)};
}

__device__ __forceinline__ Word low(Word c) { return c; }
__device__ __forceinline__ Two<Word, Word> mulhilo(Word a, Word b) { return {__umulhi(a, b), a * b}; }
__device__ __forceinline__ Long join(Word low_word, Word high_word) { return low_word | Long(high_word) << 32; }

// Storage types: half types are bits to us, computed with as floats.
struct Half { unsigned short bits; };
struct Bfloat16 { unsigned short bits; };

#ifndef AGAUSS_SHIM
__device__ __forceinline__ float half_to_float(unsigned short h) {
    float x;
    asm("cvt.f32.f16 %0, %1;" : "=f"(x) : "h"(h));
    return x;
}
__device__ __forceinline__ unsigned short float_to_half(float x) {
    unsigned short h;
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(h) : "f"(x));
    return h;
}
__device__ __forceinline__ unsigned short double_to_half(double x) {
    unsigned short h;
    asm("cvt.rn.f16.f64 %0, %1;" : "=h"(h) : "d"(x));
    return h;
}
#endif

__device__ __forceinline__ float read(float x) { return x; }
__device__ __forceinline__ double read(double x) { return x; }
__device__ __forceinline__ float read(Half x) { return half_to_float(x.bits); }
__device__ __forceinline__ float read(Bfloat16 x) { return __int_as_float(int(x.bits) << 16); }

template <class From> __device__ __forceinline__ void write(float& to, From x) { to = float(x); }
template <class From> __device__ __forceinline__ void write(double& to, From x) { to = double(x); }
template <class From> __device__ __forceinline__ void write(long long& to, From x) { to = (long long)x; }
template <class From> __device__ __forceinline__ void write(int& to, From x) { to = int(x); }
__device__ __forceinline__ void write(Half& to, float x) { to.bits = float_to_half(x); }
__device__ __forceinline__ void write(Half& to, double x) { to.bits = double_to_half(x); }
// To nearest, ties to even; NaN stays a quiet NaN.
__device__ __forceinline__ void write(Bfloat16& to, float x) {
    unsigned int b = __float_as_int(x);
    to.bits = (x != x ? b | 0x400000u : b + (b >> 16 & 1u) + 0x7fffu) >> 16;
}
__device__ __forceinline__ void write(Bfloat16& to, double x) { write(to, float(x)); }

}  // namespace agauss
