// Made from agauss/maths/formulas.py by tools/mirror.py.

namespace agauss {

constexpr double LOG_2PI = 1.8378770664093453;

__device__ __forceinline__ auto value(auto x) {
    return x;
}

__device__ __forceinline__ auto value_vjp(auto g, auto x) {
    return values(g);
}

__device__ __forceinline__ auto noise(auto x, auto eps) {
    return eps;
}

__device__ __forceinline__ auto mode(auto mean, auto logvar) {
    return mean;
}

__device__ __forceinline__ auto mode_vjp(auto g, auto mean, auto logvar) {
    return values(g, like(0.0, logvar));
}

__device__ __forceinline__ auto std(auto logvar) {
    return exp(like(0.5, logvar) * logvar);
}

__device__ __forceinline__ auto std_vjp(auto g, auto logvar) {
    auto half = like(0.5, logvar);
    return values((half * g) * exp(half * logvar));
}

__device__ __forceinline__ auto var(auto logvar) {
    return exp(logvar);
}

__device__ __forceinline__ auto var_vjp(auto g, auto logvar) {
    return values(g * exp(logvar));
}

__device__ __forceinline__ auto kl_prior(auto mean, auto logvar) {
    return ((like(0.5, mean) * mean) * mean) + half_expm1x(logvar);
}

__device__ __forceinline__ auto kl_prior_vjp(auto g, auto mean, auto logvar) {
    return values(g * mean, (like(0.5, mean) * g) * expm1(logvar));
}

__device__ __forceinline__ auto precision(auto logvar, auto d) {
    auto p = exp(-logvar);
    auto nothing = (d == like(0.0, d)) & (p == inf(d));
    return where(nothing, like(1.0, d), p);
}

__device__ __forceinline__ auto log_ratio(auto logvar, auto logvar2) {
    auto t = logvar - logvar2;
    auto shadow = t - logvar;
    auto rest = (logvar - (t - shadow)) - (logvar2 + shadow);
    auto zero = like(0.0, t);
    auto infinity = inf(t);
    auto same = logvar == logvar2;
    return values(where(same, zero, t), where((same | (t == infinity)) | (t == -infinity), zero, rest));
}

__device__ __forceinline__ auto carried(auto y, auto rest, auto slope) {
    auto zero = like(0.0, y);
    auto infinite = y == inf(y);
    return y + (where(infinite, zero, rest) * where(infinite, zero, slope));
}

__device__ __forceinline__ auto kl(auto mean, auto logvar, auto mean2, auto logvar2) {
    auto half = like(0.5, mean);
    auto d = mean - mean2;
    auto [t, rest] = log_ratio(logvar, logvar2);
    auto y = half_expm1x(t);
    return ((half * d) * (d * precision(logvar2, d))) + carried(y, rest, y + (half * t));
}

__device__ __forceinline__ auto kl_vjp(auto g, auto mean, auto logvar, auto mean2, auto logvar2) {
    auto half = like(0.5, mean);
    auto one = like(1.0, mean);
    auto [t, rest] = log_ratio(logvar, logvar2);
    auto e = expm1(t);
    auto by_logvar = g * (half * carried(e, rest, e + one));
    auto d = mean - mean2;
    auto slope = (g * d) * precision(logvar2, d);
    return values(slope, by_logvar, -slope, -(((half * d) * slope) + by_logvar));
}

__device__ __forceinline__ auto spread(auto logvar, auto logvar2) {
    auto zero = like(0.0, logvar);
    auto half = like(0.5, logvar);
    auto [t, _] = log_ratio(logvar, logvar2);
    auto largest = exp(where(t < zero, logvar2, logvar));
    return values(t, where(t == zero, zero, largest), expm1(-half * where(t < zero, -t, t)));
}

__device__ __forceinline__ auto wasserstein2_squared(auto mean, auto logvar, auto mean2, auto logvar2) {
    auto d = mean - mean2;
    auto [_, largest, e] = spread(logvar, logvar2);
    return (d * d) + ((largest * e) * e);
}

__device__ __forceinline__ auto wasserstein2_squared_vjp(auto g, auto mean, auto logvar, auto mean2, auto logvar2) {
    auto zero = like(0.0, mean);
    auto half = like(0.5, mean);
    auto two = like(2.0, mean);
    auto [t, largest, e] = spread(logvar, logvar2);
    auto both = where(t == zero, zero, exp(half * logvar) * exp(half * logvar2));
    auto by_mean = (two * g) * (mean - mean2);
    auto by_larger = g * -(largest * e);
    auto by_smaller = g * (both * e);
    auto below = t < zero;
    return values(by_mean, where(below, by_smaller, by_larger), -by_mean, where(below, by_larger, by_smaller));
}

__device__ __forceinline__ auto nll(auto x, auto mean, auto logvar) {
    auto half = like(0.5, mean);
    auto d = x - mean;
    auto square = (half * d) * (d * precision(logvar, d));
    auto infinity = inf(mean);
    return where(square == infinity, infinity, (half * (like(LOG_2PI, mean) + logvar)) + square);
}

__device__ __forceinline__ auto nll_vjp(auto g, auto x, auto mean, auto logvar) {
    auto d = x - mean;
    auto half = like(0.5, mean);
    auto slope = (g * d) * precision(logvar, d);
    return values(slope, -slope, (half * g) - ((half * d) * slope));
}

__device__ __forceinline__ auto log_prob(auto x, auto mean, auto logvar) {
    return -nll(x, mean, logvar);
}

__device__ __forceinline__ auto log_prob_vjp(auto g, auto x, auto mean, auto logvar) {
    return nll_vjp(-g, x, mean, logvar);
}

__device__ __forceinline__ auto entropy(auto logvar) {
    return like(0.5, logvar) * (like(1.0 + LOG_2PI, logvar) + logvar);
}

__device__ __forceinline__ auto entropy_vjp(auto g, auto logvar) {
    return values(like(0.5, logvar) * g);
}

__device__ __forceinline__ auto sample(auto mean, auto logvar, auto eps) {
    return mean + (std(logvar) * eps);
}

__device__ __forceinline__ auto sample_vjp(auto g, auto mean, auto logvar, auto eps) {
    return values(g, (like(0.5, mean) * g) * (std(logvar) * eps));
}

__device__ __forceinline__ auto sample_and_kl(auto mean, auto logvar, auto eps) {
    return values(sample(mean, logvar, eps), kl_prior(mean, logvar));
}

__device__ __forceinline__ auto sample_and_kl_vjp(auto g_z, auto g_kl, auto mean, auto logvar, auto eps) {
    auto [d_mean, d_logvar] = sample_vjp(g_z, mean, logvar, eps);
    auto [d_mean_kl, d_logvar_kl] = kl_prior_vjp(g_kl, mean, logvar);
    return values(d_mean + d_mean_kl, d_logvar + d_logvar_kl);
}

__device__ __forceinline__ auto hard(auto x, auto low, auto high) {
    x = where(x < low, low, x);
    return where(x > high, high, x);
}

__device__ __forceinline__ auto hard_vjp(auto g, auto x, auto low, auto high) {
    return where((x < low) | (x > high), like(0.0, x), g);
}

__device__ __forceinline__ auto straight_through_vjp(auto g, auto x, auto low, auto high) {
    return g;
}

__device__ __forceinline__ auto softplus(auto x) {
    auto zero = like(0.0, x);
    return where(x < zero, zero, x) + log1p(exp(where(x < zero, x, -x)));
}

__device__ __forceinline__ auto sigmoid(auto x) {
    auto one = like(1.0, x);
    return one / (one + exp(-x));
}

__device__ __forceinline__ auto soft(auto x, auto low, auto high) {
    return low + softplus((high - softplus(high - x)) - low);
}

__device__ __forceinline__ auto soft_vjp(auto g, auto x, auto low, auto high) {
    auto below = high - softplus(high - x);
    return (g * sigmoid(high - x)) * sigmoid(below - low);
}

__device__ __forceinline__ auto outside(auto x, auto low, auto high) {
    return where((x < low) | (x > high), like(1.0, x), like(0.0, x));
}

}  // namespace agauss
