// Made from agauss/maths/parts.py by tools/mirror.py.

namespace agauss {

constexpr double LOG_2 = 0.6931471805599453;

constexpr double PEAK = 0.3989422804014327;

__device__ __forceinline__ auto factor(auto p, auto d) {
    auto nothing = (d == like(0.0, d)) & infinite(p);
    return where(nothing, like(1.0, d), p);
}

__device__ __forceinline__ auto precision(auto logvar, auto d) {
    return factor(exp(-logvar), d);
}

__device__ __forceinline__ auto difference(auto a, auto b) {
    auto d = a - b;
    auto shadow = d - a;
    auto rest = (a - (d - shadow)) - (b + shadow);
    return values(d, where(infinite(d) | infinite(-d), like(0.0, d), rest));
}

__device__ __forceinline__ auto log_ratio(auto logvar, auto logvar2) {
    auto [t, rest] = difference(logvar, logvar2);
    auto zero = like(0.0, t);
    auto same = logvar == logvar2;
    return values(where(same, zero, t), where(same, zero, rest));
}

__device__ __forceinline__ auto carried(auto y, auto rest, auto slope) {
    auto zero = like(0.0, y);
    auto over = infinite(y);
    return y + (where(over, zero, rest) * where(over, zero, slope));
}

__device__ __forceinline__ auto spread(auto logvar, auto logvar2) {
    auto zero = like(0.0, logvar);
    auto half = like(0.5, logvar);
    auto [t, _] = log_ratio(logvar, logvar2);
    auto largest = exp(where(t < zero, logvar2, logvar));
    return values(t, where(t == zero, zero, largest), expm1(-half * where(t < zero, -t, t)));
}

__device__ __forceinline__ auto log_cosh(auto u, auto s) {
    auto zero = like(0.0, u);
    auto near = u <= like(1.0, u);
    auto small = where(near, u, zero);
    auto rise = half_expm1x(small) + half_expm1x(-small);
    return where(near, zero, u - like(LOG_2, u)) + log1p_unit(where(near, rise, s));
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
    auto square = (half * edge) * (edge * precision(logvar, edge));
    return values(exp(-half * logvar), square, where(is_open, infinity, (d * width) * precision(logvar, d)));
}

__device__ __forceinline__ auto bin_mass(auto is_open, auto d, auto edge, auto width, auto inverse, auto square, auto power) {
    auto zero = like(0.0, d);
    auto half = like(0.5, d);
    auto one = like(1.0, d);
    auto near = mills(where(edge < zero, -edge, edge) * factor(inverse, edge));
    auto far = exp(-power) * mills(where(is_open, zero, (d + (half * width)) * inverse));
    auto outside = (like(PEAK, d) * exp(-square)) * (near + far);
    auto widest = like(1.5, d);
    auto stds = width * inverse;
    auto is_narrow = (stds <= widest) & (power <= like(2.0, d));
    auto is_inside = (edge < zero) & ((stds > widest) | is_open);
    auto p = half * where(is_narrow, stds, zero);
    auto s = half * where(is_narrow, power, zero);
    auto average = mean_over_bin(p * p, s * s);
    auto mass = where(is_narrow, width * average, where(is_inside, one - outside, near - far));
    return values(is_narrow, is_inside, outside, mass);
}

}  // namespace agauss
