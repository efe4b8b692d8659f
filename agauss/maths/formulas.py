"""The maths of the diagonal Gaussian, one element at a time; knows no array, no library, no loop.

Each term is followed by its vector-Jacobian product: the cotangents of the term's values come first, then the term's
own arguments, and one cotangent for each argument comes back. `m` is the vocabulary: exp, expm1, half_expm1x, log1p,
ln, mills, where, and like(c, x), the number c in x's dtype, without which Numba would compute float32 in float64.
"""

LOG_2PI = 1.8378770664093453
PEAK = 0.3989422804014327  # of the standard normal density, 1 / sqrt(2 pi)


def value(m, x):
    return x


def value_vjp(m, g, x):
    return (g,)


def noise(m, x, eps):
    return eps


def mode(m, mean, logvar):
    return mean


def mode_vjp(m, g, mean, logvar):
    return g, m.like(0.0, logvar)


def std(m, logvar):
    return m.exp(m.like(0.5, logvar) * logvar)


def std_vjp(m, g, logvar):
    half = m.like(0.5, logvar)
    return (half * g * m.exp(half * logvar),)


def var(m, logvar):
    return m.exp(logvar)


def var_vjp(m, g, logvar):
    return (g * m.exp(logvar),)


def kl_prior(m, mean, logvar):
    # half_expm1x(t) = (exp(t) - 1 - t) / 2 is never negative, and has no cancellation at the prior, where KL is tiny.
    return (m.like(0.5, mean) * mean) * mean + m.half_expm1x(logvar)


def kl_prior_vjp(m, g, mean, logvar):
    return g * mean, m.like(0.5, mean) * g * m.expm1(logvar)


def precision(m, logvar, d):
    """exp(-logvar), the factor of d; 1 where it is infinite and d is 0, so that their product is 0."""
    p = m.exp(-logvar)
    nothing = (d == m.like(0.0, d)) & (p == m.like(float("inf"), d))
    return m.where(nothing, m.like(1.0, d), p)


def difference(m, a, b):
    """a - b, and what its rounding left over: 0 where it is infinite."""
    d = a - b
    shadow = d - a
    rest = (a - (d - shadow)) - (b + shadow)
    infinity = m.like(float("inf"), d)
    return d, m.where((d == infinity) | (d == -infinity), m.like(0.0, d), rest)


def log_ratio(m, logvar, logvar2):
    """logvar - logvar2 as t and what its rounding left over, which exp(t) would magnify |t| times; 0 where both are
    the same infinity."""
    t, rest = difference(m, logvar, logvar2)
    zero, same = m.like(0.0, t), logvar == logvar2
    return m.where(same, zero, t), m.where(same, zero, rest)


def carried(m, y, rest, slope):
    """y + rest * slope, and y where that is infinite already."""
    zero, infinite = m.like(0.0, y), y == m.like(float("inf"), y)
    return y + m.where(infinite, zero, rest) * m.where(infinite, zero, slope)


def kl(m, mean, logvar, mean2, logvar2):
    half = m.like(0.5, mean)
    d = mean - mean2
    t, rest = log_ratio(m, logvar, logvar2)
    y = m.half_expm1x(t)
    return (half * d) * (d * precision(m, logvar2, d)) + carried(m, y, rest, y + half * t)


def kl_vjp(m, g, mean, logvar, mean2, logvar2):
    half, one = m.like(0.5, mean), m.like(1.0, mean)
    t, rest = log_ratio(m, logvar, logvar2)
    e = m.expm1(t)
    by_logvar = g * (half * carried(m, e, rest, e + one))
    d = mean - mean2
    # g * d comes first, for the gradient may be within range where the KL is not.
    slope = (g * d) * precision(m, logvar2, d)
    return slope, by_logvar, -slope, -((half * d) * slope + by_logvar)


def spread(m, logvar, logvar2):
    """Of two log-variances, their difference t, the larger variance, and e = exp(-|t| / 2) - 1, by which the smaller
    standard deviation falls short of the larger. The variance is 0 where the two are equal, were they infinite."""
    zero, half = m.like(0.0, logvar), m.like(0.5, logvar)
    t, _ = log_ratio(m, logvar, logvar2)
    largest = m.exp(m.where(t < zero, logvar2, logvar))
    return t, m.where(t == zero, zero, largest), m.expm1(-half * m.where(t < zero, -t, t))


def wasserstein2_squared(m, mean, logvar, mean2, logvar2):
    # (std - std2)^2 is largest (e^2), without the cancellation of two standard deviations that are nearly equal.
    d = mean - mean2
    _, largest, e = spread(m, logvar, logvar2)
    return d * d + (largest * e) * e


def wasserstein2_squared_vjp(m, g, mean, logvar, mean2, logvar2):
    zero, half, two = m.like(0.0, mean), m.like(0.5, mean), m.like(2.0, mean)
    t, largest, e = spread(m, logvar, logvar2)
    both = m.where(t == zero, zero, m.exp(half * logvar) * m.exp(half * logvar2))
    by_mean = two * g * (mean - mean2)
    by_larger, by_smaller = g * (-(largest * e)), g * (both * e)
    below = t < zero
    return by_mean, m.where(below, by_smaller, by_larger), -by_mean, m.where(below, by_larger, by_smaller)


def nll(m, x, mean, logvar):
    half = m.like(0.5, mean)
    d = x - mean
    square = (half * d) * (d * precision(m, logvar, d))
    # An infinite square outgrows a log-variance of -inf, with which its sum would be NaN.
    infinity = m.like(float("inf"), mean)
    return m.where(square == infinity, infinity, half * (m.like(LOG_2PI, mean) + logvar) + square)


def nll_vjp(m, g, x, mean, logvar):
    d = x - mean
    half = m.like(0.5, mean)
    slope = (g * d) * precision(m, logvar, d)  # as in kl_vjp
    return slope, -slope, half * g - (half * d) * slope


def log_prob(m, x, mean, logvar):
    return -nll(m, x, mean, logvar)


def log_prob_vjp(m, g, x, mean, logvar):
    return nll_vjp(m, -g, x, mean, logvar)


def mean_over_bin(m, p, s):
    """The integral of cosh(sqrt(s) y) exp(p (1 - y^2) / 2) over y from 0 to 1, for 0 <= p <= 9/16 and 0 <= s <= 1.

    cosh has a series in s. The coefficient of s^j / (2 j)! is an integral i_j, and (2 j + 1) i_j = 1 + p i_(j + 1).
    """
    one, two, n = m.like(1.0, p), m.like(2.0, p), m.like(25.0, p)
    integral, total = m.like(0.0, p), m.like(0.0, p)
    for _ in range(13):
        integral = (one + p * integral) * (one / n)
        total = integral + total * (s * (one / (n * (n + one))))
        n = n - two
    return total


def bin_edges(m, x, mean, width, low, high):
    """A bin, reflected so that it lies above the mean, or more of it does: whether its farther edge is open, whether it
    is reflected, and how far above the mean are its centre and its nearer edge."""
    is_open = (x <= low) | (x >= high)
    flip = (x <= low) | ((x < mean) & (x < high))
    # The edge counts by its square, so what the two differences leave over is not left out.
    d, rest = difference(m, m.where(flip, mean, x), m.where(flip, x, mean))
    edge, left = difference(m, d, m.like(0.5, x) * width)
    return is_open, flip, d, edge + (left + rest)


def bin_scales(m, is_open, d, edge, logvar, width):
    """The inverse of the std; half the square of the nearer edge in stds; and by how much the farther one's is more."""
    half, infinity = m.like(0.5, d), m.like(float("inf"), d)
    inverse = m.exp(-half * logvar)
    inverse = m.where(inverse == infinity, m.like(1e30, d), inverse)  # so that 0 times it is 0
    square = (half * edge) * (edge * precision(m, logvar, edge))
    return inverse, square, m.where(is_open, infinity, (d * width) * precision(m, logvar, d))


def bin_mass(m, is_open, d, edge, width, inverse, square, power):
    """The mass of a bin, told in one of three ways, so that it neither cancels nor underflows.

    Of a narrow bin it is exp(-square - power / 2) / sqrt(2 pi) / std times `mass`; of another with the mean inside, 1
    less `outside`, which is `mass`; and else exp(-square) / sqrt(2 pi) times `mass`, a difference of Mills' ratios.
    """
    zero, half, one, infinity = m.like(0.0, d), m.like(0.5, d), m.like(1.0, d), m.like(float("inf"), d)
    near = m.mills(m.where(edge < zero, -edge, edge) * inverse)
    far = m.exp(-power) * m.mills(m.where(is_open, infinity, (d + half * width) * inverse))
    outside = m.like(PEAK, d) * m.exp(-square) * (near + far)

    widest = m.like(1.5, d)
    stds = width * inverse
    is_narrow = (stds <= widest) & (power <= m.like(2.0, d))
    is_inside = (edge < zero) & ((stds > widest) | is_open)
    p, s = half * stds, half * power
    average = mean_over_bin(m, m.where(is_narrow, p * p, zero), m.where(is_narrow, s * s, zero))
    mass = m.where(is_narrow, width * average, m.where(is_inside, one - outside, near - far))
    return is_narrow, is_inside, outside, mass


def discretized_nll(m, x, mean, logvar, width, low, high):
    is_open, _, d, edge = bin_edges(m, x, mean, width, low, high)
    inverse, square, power = bin_scales(m, is_open, d, edge, logvar, width)
    is_narrow, is_inside, outside, mass = bin_mass(m, is_open, d, edge, width, inverse, square, power)
    zero, half, one = m.like(0.0, x), m.like(0.5, x), m.like(1.0, x)
    # log(1 - outside) needs what the rounding of 1 - outside left over.
    rest = m.where(is_inside, (outside + (mass - one)) / mass, zero)
    exponent = m.where(is_inside, zero, square + m.like(0.5 * LOG_2PI, x)) + m.where(is_narrow, half * power, zero)
    return exponent - m.ln(m.where(is_narrow, mass * inverse, mass)) + rest


def discretized_nll_vjp(m, g, x, mean, logvar, width, low, high):
    is_open, flip, d, edge = bin_edges(m, x, mean, width, low, high)
    inverse, square, power = bin_scales(m, is_open, d, edge, logvar, width)
    is_narrow, is_inside, _, mass = bin_mass(m, is_open, d, edge, width, inverse, square, power)
    zero, half, one = m.like(0.0, x), m.like(0.5, x), m.like(1.0, x)
    # The density at the nearer edge as a part of the mass; the farther one's is exp(-power) times that.
    height = m.exp(m.where(is_narrow, half * power, m.where(is_inside, -square, zero)))
    height = height * m.where(is_narrow, one, m.where(is_inside, m.like(PEAK, x), one) * inverse)
    density = g * (height / mass)
    slope = density * -m.expm1(-power)
    by_x = m.where(flip, -slope, slope)
    return by_x, -by_x, half * (density * (width * m.exp(-power)) - edge * slope)


def entropy(m, logvar):
    return m.like(0.5, logvar) * (m.like(1.0 + LOG_2PI, logvar) + logvar)


def entropy_vjp(m, g, logvar):
    return (m.like(0.5, logvar) * g,)


def sample(m, mean, logvar, eps):
    return mean + std(m, logvar) * eps


def sample_vjp(m, g, mean, logvar, eps):
    return g, m.like(0.5, mean) * g * (std(m, logvar) * eps)


def sample_and_kl(m, mean, logvar, eps):
    return sample(m, mean, logvar, eps), kl_prior(m, mean, logvar)


def sample_and_kl_vjp(m, g_z, g_kl, mean, logvar, eps):
    d_mean, d_logvar = sample_vjp(m, g_z, mean, logvar, eps)
    d_mean_kl, d_logvar_kl = kl_prior_vjp(m, g_kl, mean, logvar)
    return d_mean + d_mean_kl, d_logvar + d_logvar_kl


# Bounds on the log-variance: x -> a value in [low, high]. NaN compares false, and so passes through each of them.


def hard(m, x, low, high):
    x = m.where(x < low, low, x)
    return m.where(x > high, high, x)


def hard_vjp(m, g, x, low, high):
    return m.where((x < low) | (x > high), m.like(0.0, x), g)


def straight_through_vjp(m, g, x, low, high):
    return g


def softplus(m, x):
    zero = m.like(0.0, x)
    return m.where(x < zero, zero, x) + m.log1p(m.exp(m.where(x < zero, x, -x)))


def sigmoid(m, x):
    one = m.like(1.0, x)
    return one / (one + m.exp(-x))


def soft(m, x, low, high):
    return low + softplus(m, high - softplus(m, high - x) - low)


def soft_vjp(m, g, x, low, high):
    below = high - softplus(m, high - x)
    return g * sigmoid(m, high - x) * sigmoid(m, below - low)


def outside(m, x, low, high):
    return m.where((x < low) | (x > high), m.like(1.0, x), m.like(0.0, x))


# name -> (bound, its vjp)
BOUNDS = {"hard": (hard, hard_vjp), "straight-through": (hard, straight_through_vjp), "soft": (soft, soft_vjp)}
