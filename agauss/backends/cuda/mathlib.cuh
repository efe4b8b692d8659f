// Made from agauss/backends/cpu/mathlib.py by tools/mirror.py.

namespace agauss {

__device__ __forceinline__ auto nearest(auto x) {
    return fma(x, number(LOG2E{}, x), number(ROUND{}, x)) - number(ROUND{}, x);
}

__device__ __forceinline__ auto whole(auto x) {
    return trunc(x * number(LOG2E{}, x));
}

__device__ __forceinline__ auto rest(auto x, auto n) {
    return fma(n, -number(LN2_1{}, x), fma(n, -number(LN2_0{}, x), x));
}

__device__ __forceinline__ auto exp_of(auto r) {
    return like(1.0, r) + fma(r * r, parity_polynomial(EXP{}, r), r);
}

__device__ __forceinline__ auto half_expm1_of(auto r, auto s) {
    return fma(s, fma(r * r, parity_polynomial(EXPM1{}, r), r), s - like(0.5, r));
}

__device__ __forceinline__ auto half_expm1x_of(auto x, auto r, auto s) {
    auto half = like(0.5, x);
    return fma(s * (r * r), parity_polynomial(EXPM1{}, r), fma(s, r, fma(-half, x, s - half)));
}

__device__ __forceinline__ auto exp(auto x) {
    auto low = number(EXP_LOW{}, x);
    auto high = number(EXP_HIGH{}, x);
    x = where(x < low, low, x);
    x = where(x > high, high, x);
    auto n = nearest(x);
    return scale(exp_of(rest(x, n)), n);
}

__device__ __forceinline__ auto _exp_parts(auto x) {
    auto low = number(SCALE_LOW{}, x);
    auto high = number(EXP_HIGH{}, x);
    auto overflow = number(HALF_EXP_HIGH{}, x);
    x = where(x > overflow, overflow, x);
    auto above = where(x < low, low, x);
    auto n = whole(where(above > high, high, above));
    return values(x, rest(above, n), half_power(n));
}

__device__ __forceinline__ auto half_expm1(auto x) {
    auto [_, r, s] = _exp_parts(x);
    return half_expm1_of(r, s);
}

__device__ __forceinline__ auto expm1(auto x) {
    auto y = half_expm1(x);
    return y + y;
}

__device__ __forceinline__ auto half_expm1x(auto x) {
    auto [x_, r, s] = _exp_parts(x);
    x = x_;
    return half_expm1x_of(x, r, s);
}

__device__ __forceinline__ auto infinite(auto x) {
    return x == inf(x);
}

__device__ __forceinline__ auto log1p(auto x) {
    auto one = like(1.0, x);
    auto y = one + x;
    return log(y) + ((x - (y - one)) / y);
}

__device__ __forceinline__ auto log1p_unit(auto x) {
    return fma(x * x, parity_polynomial(LOG1P{}, x - like(0.5, x)), x);
}

__device__ __forceinline__ auto ln(auto x) {
    auto zero = like(0.0, x);
    auto one = like(1.0, x);
    auto tiny = number(LEAST_NORMAL{}, x);
    auto small = x < tiny;
    auto scaled = where(small, x / tiny, x);
    auto y = log(where(scaled > zero, scaled, one)) + where(small, number(LN_LEAST_NORMAL{}, x), zero);
    y = where(x < inf(x), y, x);
    return where(x == zero, -inf(x), y);
}

__device__ __forceinline__ auto mills(auto x) {
    auto zero = like(0.0, x);
    auto one = like(1.0, x);
    auto four = like(4.0, x);
    auto eight = like(8.0, x);
    auto t = x + four;
    auto v = one / t;
    auto rest = where(t < (four * four), v * (fma(-v, t, one) - (v * (x - (t - four)))), zero);
    auto q = fma(-eight, v, one) - (eight * rest);
    v = v + rest;
    return fma(v * (eight * v), polynomial(MILLS{}, q), v);
}

}  // namespace agauss
