// Made from agauss/maths/formulas.py by tools/mirror.py.

namespace agauss {

constexpr double LOG_2PI = 1.8378770664093453;

constexpr double PEAK = 0.3989422804014327;

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

__device__ __forceinline__ auto difference(auto a, auto b) {
    auto d = a - b;
    auto shadow = d - a;
    auto rest = (a - (d - shadow)) - (b + shadow);
    auto infinity = inf(d);
    return values(d, where((d == infinity) | (d == -infinity), like(0.0, d), rest));
}

__device__ __forceinline__ auto log_ratio(auto logvar, auto logvar2) {
    auto [t, rest] = difference(logvar, logvar2);
    auto zero = like(0.0, t);
    auto same = logvar == logvar2;
    return values(where(same, zero, t), where(same, zero, rest));
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

__device__ __forceinline__ auto mean_over_bin(auto p, auto s) {
    auto one = like(1.0, p);
    auto two = like(2.0, p);
    auto n = like(25.0, p);
    auto integral = like(0.0, p);
    auto total = like(0.0, p);
#pragma unroll
    for (int turn = 0; turn < 13; ++turn) {
        integral = (one + (p * integral)) * (one / n);
        total = integral + (total * (s * (one / (n * (n + one)))));
        n = n - two;
    }
    return total;
}

__device__ __forceinline__ auto bin_edges(auto x, auto mean, auto width, auto low, auto high) {
    auto is_open = (x <= low) | (x >= high);
    auto flip = (x <= low) | ((x < mean) & (x < high));
    auto [d, rest] = difference(where(flip, mean, x), where(flip, x, mean));
    auto [edge, left] = difference(d, like(0.5, x) * width);
    return values(is_open, flip, d, edge + (left + rest));
}

__device__ __forceinline__ auto bin_scales(auto is_open, auto d, auto edge, auto logvar, auto width) {
    auto half = like(0.5, d);
    auto infinity = inf(d);
    auto inverse = exp(-half * logvar);
    inverse = where(inverse == infinity, like(1e+30, d), inverse);
    auto square = (half * edge) * (edge * precision(logvar, edge));
    return values(inverse, square, where(is_open, infinity, (d * width) * precision(logvar, d)));
}

__device__ __forceinline__ auto bin_mass(auto is_open, auto d, auto edge, auto width, auto inverse, auto square, auto power) {
    auto zero = like(0.0, d);
    auto half = like(0.5, d);
    auto one = like(1.0, d);
    auto infinity = inf(d);
    auto near = mills(where(edge < zero, -edge, edge) * inverse);
    auto far = exp(-power) * mills(where(is_open, infinity, (d + (half * width)) * inverse));
    auto outside = (like(PEAK, d) * exp(-square)) * (near + far);
    auto widest = like(1.5, d);
    auto stds = width * inverse;
    auto is_narrow = (stds <= widest) & (power <= like(2.0, d));
    auto is_inside = (edge < zero) & ((stds > widest) | is_open);
    auto p = half * stds;
    auto s = half * power;
    auto average = mean_over_bin(where(is_narrow, p * p, zero), where(is_narrow, s * s, zero));
    auto mass = where(is_narrow, width * average, where(is_inside, one - outside, near - far));
    return values(is_narrow, is_inside, outside, mass);
}

__device__ __forceinline__ auto discretized_nll(auto x, auto mean, auto logvar, auto width, auto low, auto high) {
    auto [is_open, _, d, edge] = bin_edges(x, mean, width, low, high);
    auto [inverse, square, power] = bin_scales(is_open, d, edge, logvar, width);
    auto [is_narrow, is_inside, outside, mass] = bin_mass(is_open, d, edge, width, inverse, square, power);
    auto zero = like(0.0, x);
    auto half = like(0.5, x);
    auto one = like(1.0, x);
    auto rest = where(is_inside, (outside + (mass - one)) / mass, zero);
    auto exponent = where(is_inside, zero, square + like(0.5 * LOG_2PI, x)) + where(is_narrow, half * power, zero);
    return (exponent - ln(where(is_narrow, mass * inverse, mass))) + rest;
}

__device__ __forceinline__ auto discretized_nll_vjp(auto g, auto x, auto mean, auto logvar, auto width, auto low, auto high) {
    auto [is_open, flip, d, edge] = bin_edges(x, mean, width, low, high);
    auto [inverse, square, power] = bin_scales(is_open, d, edge, logvar, width);
    auto [is_narrow, is_inside, _, mass] = bin_mass(is_open, d, edge, width, inverse, square, power);
    auto zero = like(0.0, x);
    auto half = like(0.5, x);
    auto one = like(1.0, x);
    auto height = exp(where(is_narrow, half * power, where(is_inside, -square, zero)));
    height = height * where(is_narrow, one, where(is_inside, like(PEAK, x), one) * inverse);
    auto density = g * (height / mass);
    auto slope = density * -expm1(-power);
    auto by_x = where(flip, -slope, slope);
    return values(by_x, -by_x, half * ((density * (width * exp(-power))) - (edge * slope)));
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
