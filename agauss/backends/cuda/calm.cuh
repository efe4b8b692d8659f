// Made from agauss/backends/cpu/calm.py by tools/mirror.py.

namespace agauss {

__device__ __forceinline__ auto calm_exp(auto x) {
    auto n = nearest(x);
    return exp_of(rest(x, n)) * power(n);
}

__device__ __forceinline__ auto calm_half_expm1(auto x) {
    auto n = whole(x);
    return half_expm1_of(rest(x, n), half_power(n));
}

__device__ __forceinline__ auto calm_expm1(auto x) {
    auto y = half_expm1(x);
    return y + y;
}

__device__ __forceinline__ auto calm_half_expm1x(auto x) {
    auto n = whole(x);
    return half_expm1x_of(x, rest(x, n), half_power(n));
}

__device__ __forceinline__ auto calm_infinite(auto x) {
    return false;
}

}  // namespace agauss
