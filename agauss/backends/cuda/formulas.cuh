// Made from agauss/maths/formulas.py by tools/mirror.py.

namespace agauss {

constexpr double LOG_2PI = 1.8378770664093453;

constexpr double LOG_2_64 = 44.3614195558365;

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

__device__ __forceinline__ auto jeffreys(auto mean, auto logvar, auto mean2, auto logvar2) {
    auto zero = like(0.0, mean);
    auto half = like(0.5, mean);
    auto one = like(1.0, mean);
    auto d = mean - mean2;
    auto [t, rest] = log_ratio(logvar, logvar2);
    auto below = t < zero;
    auto y = half_expm1(where(below, -t, t));
    auto s = where(infinite(y), one, y / (y + half));
    auto inverse = factor(exp(-where(below, logvar, logvar2)) * (like(2.0, mean) - s), d);
    return ((half * d) * (d * inverse)) + carried(y * s, where(below, -rest, rest), y + (half * s));
}

__device__ __forceinline__ auto jeffreys_vjp(auto g, auto mean, auto logvar, auto mean2, auto logvar2) {
    auto [by_mean, by_logvar, by_mean2, by_logvar2] = kl_vjp(g, mean, logvar, mean2, logvar2);
    auto [back_mean2, back_logvar2, back_mean, back_logvar] = kl_vjp(g, mean2, logvar2, mean, logvar);
    return values(by_mean + back_mean, by_logvar + back_logvar, by_mean2 + back_mean2, by_logvar2 + back_logvar2);
}

__device__ __forceinline__ auto exp_of_less(auto t, auto rest) {
    auto below = t < like(0.0, t);
    auto s = exp(where(below, t, -t));
    return s + (s * where(below, rest, -rest));
}

__device__ __forceinline__ auto pooled(auto d, auto logvar, auto logvar2) {
    auto [t, rest] = log_ratio(logvar, logvar2);
    auto s = exp_of_less(t, rest);
    return values(t, s, precision(where(t < like(0.0, t), logvar2, logvar), d) / (like(1.0, t) + s));
}

__device__ __forceinline__ auto bhattacharyya(auto mean, auto logvar, auto mean2, auto logvar2) {
    auto half = like(0.5, mean);
    auto quarter = like(0.25, mean);
    auto d = mean - mean2;
    auto [t, s, p] = pooled(d, logvar, logvar2);
    auto size = where(t < like(0.0, t), -t, t);
    return ((quarter * d) * (d * p)) + (half * log_cosh(half * size, s));
}

__device__ __forceinline__ auto bhattacharyya_vjp(auto g, auto mean, auto logvar, auto mean2, auto logvar2) {
    auto one = like(1.0, mean);
    auto half = like(0.5, mean);
    auto quarter = like(0.25, mean);
    auto d = mean - mean2;
    auto [t, s, p] = pooled(d, logvar, logvar2);
    auto below = t < like(0.0, t);
    auto slope = (half * (g * d)) * p;
    auto curve = (half * d) * slope;
    auto turn = (quarter * g) * (-expm1(where(below, t, -t)) / (one + s));
    auto by_larger = turn - (curve * (one / (one + s)));
    auto by_smaller = -turn - (curve * (s / (one + s)));
    return values(slope, where(below, by_smaller, by_larger), -slope, where(below, by_larger, by_smaller));
}

__device__ __forceinline__ auto renyi_parts(auto d, auto logvar, auto logvar2, auto alpha) {
    auto zero = like(0.0, d);
    auto one = like(1.0, d);
    auto [t, rest] = log_ratio(logvar, logvar2);
    t = where(alpha == zero, zero, t);
    auto c = one - alpha;
    auto below = t < zero;
    auto s = exp_of_less(t, rest);
    auto part = where(below, alpha + (c * s), c + (alpha * s));
    auto p = factor(exp(-where(below, logvar2, logvar)) / part, d);
    return values(t, c, s, part, where((alpha == zero) & infinite(p), zero, p));
}

__device__ __forceinline__ auto renyi(auto mean, auto logvar, auto mean2, auto logvar2, auto alpha) {
    auto zero = like(0.0, mean);
    auto half = like(0.5, mean);
    auto one = like(1.0, mean);
    auto two = like(2.0, mean);
    auto d = mean - mean2;
    auto [t, c, _, part, p] = renyi_parts(d, logvar, logvar2, alpha);
    auto x = two * ((c * half_expm1x(alpha * t)) + (alpha * half_expm1x(-c * t)));
    auto held = x < inf(x);
    auto largest = where(t < zero, -c * t, alpha * t);
    auto log = log1p(where(held, x, (one - part) / part));
    return (((half * alpha) * d) * (d * p)) + (where(held, log, largest - log) / (two * c));
}

__device__ __forceinline__ auto renyi_vjp(auto g, auto mean, auto logvar, auto mean2, auto logvar2, auto alpha) {
    auto half = like(0.5, mean);
    auto d = mean - mean2;
    auto [t, c, s, part, p] = renyi_parts(d, logvar, logvar2, alpha);
    auto below = t < like(0.0, t);
    auto slope = (alpha * (g * d)) * p;
    auto curve = (half * d) * slope;
    auto turn = (half * g) * ((alpha * expm1(where(below, t, -t))) / part);
    turn = where(below, turn, -turn);
    auto share = where(below, c * s, c) / part;
    auto share2 = where(below, alpha, alpha * s) / part;
    return values(slope, turn - (curve * share), -slope, -turn - (curve * share2));
}

__device__ __forceinline__ auto above_one(auto d, auto logvar, auto logvar2, auto alpha) {
    auto one = like(1.0, d);
    auto infinity = inf(d);
    auto [t, rest] = log_ratio(logvar, logvar2);
    auto e = expm1(t);
    e = carried(e, rest, e + one);
    auto c = where(alpha == infinity, one, (alpha - one) / alpha);
    auto part = (one / alpha) - (c * e);
    return values(e, c, part, factor(exp(-logvar2) / part, d));
}

__device__ __forceinline__ auto renyi_above_one(auto mean, auto logvar, auto mean2, auto logvar2, auto alpha) {
    auto zero = like(0.0, mean);
    auto half = like(0.5, mean);
    auto one = like(1.0, mean);
    auto infinity = inf(mean);
    auto d = mean - mean2;
    auto b = alpha - one;
    auto [t, rest] = log_ratio(logvar, logvar2);
    auto [e, _, part, p] = above_one(d, logvar, logvar2, alpha);
    auto w = b * e;
    auto y = half_expm1x(t);
    auto log = log1p(where(w < zero, -w, w / (one - w)));
    auto over_b = where(b == infinity, -half * e, half_expm1x(where(w < zero, log, -log)) / b);
    auto value = ((half * d) * (d * p)) + (carried(y, rest, y + (half * t)) + over_b);
    return where((part <= zero) & (t > zero), infinity, value);
}

__device__ __forceinline__ auto renyi_above_one_vjp(auto g, auto mean, auto logvar, auto mean2, auto logvar2, auto alpha) {
    auto half = like(0.5, mean);
    auto one = like(1.0, mean);
    auto d = mean - mean2;
    auto [e, c, part, p] = above_one(d, logvar, logvar2, alpha);
    auto held = where(part <= like(0.0, mean), nan(mean), part);
    auto slope = (g * d) * where(held == held, p, held);
    auto curve = (half * d) * slope;
    auto turn = (half * g) * (e / held);
    return values(slope, turn + (curve * ((c * (e + one)) / held)), -slope, -turn - (curve / held));
}

__device__ __forceinline__ auto nll(auto x, auto mean, auto logvar) {
    auto half = like(0.5, mean);
    auto d = x - mean;
    auto square = (half * d) * (d * precision(logvar, d));
    return where(infinite(square), square, (half * (like(LOG_2PI, mean) + logvar)) + square);
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

__device__ __forceinline__ auto two_at(auto z, auto mean, auto logvar, auto mean2, auto logvar2) {
    auto zero = like(0.0, mean);
    auto a = z - mean;
    auto b = z - mean2;
    auto d = mean - mean2;
    auto [t, _] = log_ratio(logvar, logvar2);
    auto below = t < zero;
    auto inverse = precision(logvar, where(below, a, d));
    auto inverse2 = precision(logvar2, where(below, d, b));
    auto c = where(below, a, b);
    auto q = (c * where(below, inverse, -inverse2)) * expm1(where(below, t, -t));
    return values(a, b, c, d * where(below, inverse2, inverse), where(t == zero, zero, q));
}

__device__ __forceinline__ auto log_density_ratio(auto z, auto mean, auto logvar, auto mean2, auto logvar2) {
    auto zero = like(0.0, mean);
    auto half = like(0.5, mean);
    auto [t, _] = log_ratio(logvar, logvar2);
    auto [a, b, c, p, q] = two_at(z, mean, logvar, mean2, logvar2);
    auto squares = ((half * (a + b)) * p) + ((half * c) * q);
    return squares - where(infinite(squares) | infinite(-squares), zero, half * t);
}

__device__ __forceinline__ auto log_density_ratio_vjp(auto g, auto z, auto mean, auto logvar, auto mean2, auto logvar2) {
    auto half = like(0.5, mean);
    auto [a, b, _, p, q] = two_at(z, mean, logvar, mean2, logvar2);
    auto slope = (g * a) * precision(logvar, a);
    auto slope2 = (g * b) * precision(logvar2, b);
    auto by_logvar = ((half * a) * slope) - (half * g);
    auto by_logvar2 = (half * g) - ((half * b) * slope2);
    return values(g * (p + q), slope, by_logvar, -slope2, by_logvar2);
}

__device__ __forceinline__ auto log_density_ratio_prior(auto z, auto mean, auto logvar) {
    auto zero = like(0.0, mean);
    return log_density_ratio(z, mean, logvar, zero, zero);
}

__device__ __forceinline__ auto log_density_ratio_prior_vjp(auto g, auto z, auto mean, auto logvar) {
    auto half = like(0.5, mean);
    auto below = logvar < like(0.0, mean);
    auto a = z - mean;
    auto slope = (g * a) * precision(logvar, a);
    auto e = expm1(where(below, logvar, -logvar));
    auto by_z = where(below, (g * mean) + (slope * e), ((g * mean) * precision(logvar, mean)) - ((g * z) * e));
    return values(by_z, slope, ((half * a) * slope) - (half * g));
}

__device__ __forceinline__ auto unlikelihood(auto x, auto logits) {
    auto zero = like(0.0, x);
    auto one = like(1.0, x);
    auto above = logits > zero;
    auto against = where(above, one - x, x);
    auto inside = (x >= zero) & (x <= one);
    return values(where(inside, against, nan(x)), where(above, logits, -logits));
}

__device__ __forceinline__ auto bernoulli_nll(auto x, auto logits) {
    auto zero = like(0.0, x);
    auto [against, size] = unlikelihood(x, logits);
    return where(against == zero, zero, against * size) + log1p_unit(exp(-size));
}

__device__ __forceinline__ auto bernoulli_nll_vjp(auto g, auto x, auto logits) {
    auto zero = like(0.0, x);
    auto one = like(1.0, x);
    auto [against, size] = unlikelihood(x, logits);
    auto s = exp(-size);
    auto beyond = against - (s / (one + s));
    auto by_x = where(against == against, -logits, against);
    return values(g * by_x, g * where(logits > zero, beyond, -beyond));
}

__device__ __forceinline__ auto rarer(auto x) {
    auto zero = like(0.0, x);
    auto one = like(1.0, x);
    auto least = like(5.421010862427522e-20, x);
    auto scale = like(1.8446744073709552e+19, x);
    auto inside = (x >= zero) & (x <= one);
    auto w = where(inside, where(x > like(0.5, x), one - x, x), nan(x));
    auto u = where(w < least, w * scale, w);
    return values(w, where(w == zero, one, u), where(w < least, like(LOG_2_64, x), zero));
}

__device__ __forceinline__ auto bernoulli_entropy(auto x) {
    auto one = like(1.0, x);
    auto [w, u, r] = rarer(x);
    return (w * (log1p((one - u) / u) + r)) + ((one - w) * log1p_unit(w / (one - w)));
}

__device__ __forceinline__ auto bernoulli_entropy_vjp(auto g, auto x) {
    auto [w, u, r] = rarer(x);
    auto slope = log1p((like(1.0, x) - (w + u)) / u) + r;
    slope = where(w == like(0.0, x), inf(x), slope);
    return values(g * where(x > like(0.5, x), -slope, slope));
}

__device__ __forceinline__ auto discretized_nll(auto x, auto mean, auto logvar, auto width, auto low, auto high) {
    auto [is_open, _, d, edge] = bin_edges(x, mean, width, low, high);
    auto [inverse, square, power] = bin_scales(is_open, d, edge, logvar, width);
    auto [is_narrow, is_inside, outside, mass] = bin_mass(is_open, d, edge, width, inverse, square, power);
    auto zero = like(0.0, x);
    auto half = like(0.5, x);
    auto one = like(1.0, x);
    auto exponent = (square + like(0.5 * LOG_2PI, x)) + where(is_narrow, half * power, zero);
    auto odds = where(is_inside, outside, zero) / where(is_inside, mass, one);
    auto log = ln(where(is_narrow, mass * inverse, where(is_inside, one, mass)));
    return (where(is_inside, zero, exponent) - log) + log1p(odds);
}

__device__ __forceinline__ auto discretized_nll_vjp(auto g, auto x, auto mean, auto logvar, auto width, auto low, auto high) {
    auto [is_open, flip, d, edge] = bin_edges(x, mean, width, low, high);
    auto [inverse, square, power] = bin_scales(is_open, d, edge, logvar, width);
    auto [is_narrow, is_inside, _, mass] = bin_mass(is_open, d, edge, width, inverse, square, power);
    auto zero = like(0.0, x);
    auto half = like(0.5, x);
    auto one = like(1.0, x);
    auto height = exp(where(is_narrow, half * power, where(is_inside, -square, zero)));
    height = height * where(is_narrow, one, where(is_inside, like(PEAK, x), one) * factor(inverse, height));
    auto density = g * (height / mass);
    auto fall = expm1(-power);
    auto by_x = density * where(flip, fall, -fall);
    return values(by_x, -by_x, (half * density) * where(density == zero, zero, (width * exp(-power)) + (edge * fall)));
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
    return where(x < zero, zero, x) + log1p_unit(exp(where(x < zero, x, -x)));
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
