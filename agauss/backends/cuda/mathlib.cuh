// Made from agauss/backends/cpu/mathlib.py by tools/mirror.py.

namespace agauss {

__device__ __forceinline__ auto _reduce(auto x, auto t) {
    auto n = t - number(ROUND{}, x);
    return fma(n, -number(LN2_1{}, x), fma(n, -number(LN2_0{}, x), x));
}

__device__ __forceinline__ auto exp(auto x) {
    auto low = number(EXP_LOW{}, x);
    auto high = number(EXP_HIGH{}, x);
    x = where(x < low, low, x);
    x = where(x > high, high, x);
    auto t = fma(x, number(LOG2E{}, x), number(ROUND{}, x));
    auto r = _reduce(x, t);
    return scale(like(1.0, x) + fma(r * r, polynomial(EXP{}, r), r), t);
}

__device__ __forceinline__ auto _exp_parts(auto x) {
    auto low = number(SCALE_LOW{}, x);
    auto high = number(EXP_HIGH{}, x);
    auto overflow = number(HALF_EXP_HIGH{}, x);
    x = where(x > overflow, overflow, x);
    auto above = where(x < low, low, x);
    auto t = fma(where(above > high, high, above), number(LOG2E{}, x), number(ROUND{}, x));
    auto one = like(1.0, x);
    t = where((x <= one) & (x >= -one), number(ROUND{}, x), t);
    return values(x, _reduce(above, t), half_power(t));
}

__device__ __forceinline__ auto expm1(auto x) {
    auto [x_, r, s] = _exp_parts(x);
    x = x_;
    auto y = fma(s, fma(r * r, polynomial(EXPM1X{}, r), r), s - like(0.5, x));
    return y + y;
}

__device__ __forceinline__ auto half_expm1x(auto x) {
    auto [x_, r, s] = _exp_parts(x);
    x = x_;
    auto half = like(0.5, x);
    return fma(s, (r * r) * polynomial(EXPM1X{}, r), fma(s, r, s - half) - (half * x));
}

__device__ __forceinline__ auto log1p(auto x) {
    auto one = like(1.0, x);
    auto y = one + x;
    return log(y) + ((x - (y - one)) / y);
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
