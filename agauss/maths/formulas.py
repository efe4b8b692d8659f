"""The maths of the diagonal Gaussian, one element at a time; knows no array, no library, no loop.

Each term is followed by its vector-Jacobian product: the cotangents of the term's values come first, then the term's
own arguments, and one cotangent for each argument comes back. `m` is the vocabulary: exp, expm1, half_expm1,
half_expm1x, log1p, log1p_unit (of 0 to 1), ln, mills, where, infinite, and like(c, x), the number c in x's dtype:
without it Numba would compute in float64.
"""

from agauss.maths.parts import (
    PEAK,
    bin_edges,
    bin_mass,
    bin_scales,
    carried,
    factor,
    log_cosh,
    log_ratio,
    precision,
    spread,
)

LOG_2PI = 1.8378770664093453
LOG_2_64 = 44.3614195558365  # of 2^64


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


def jeffreys(m, mean, logvar, mean2, logvar2):
    # With y = (exp(|t|) - 1) / 2 and s = 1 - exp(-|t|), what the variances give is cosh(t) - 1 = y s. Its derivative is
    # sinh(|t|) = y + s / 2. The two precisions are the larger one times 2 - s.
    zero, half, one = m.like(0.0, mean), m.like(0.5, mean), m.like(1.0, mean)
    d = mean - mean2
    t, rest = log_ratio(m, logvar, logvar2)
    below = t < zero
    y = m.half_expm1(m.where(below, -t, t))
    s = m.where(m.infinite(y), one, y / (y + half))
    inverse = factor(m, m.exp(-m.where(below, logvar, logvar2)) * (m.like(2.0, mean) - s), d)
    return (half * d) * (d * inverse) + carried(m, y * s, m.where(below, -rest, rest), y + half * s)


def jeffreys_vjp(m, g, mean, logvar, mean2, logvar2):
    by_mean, by_logvar, by_mean2, by_logvar2 = kl_vjp(m, g, mean, logvar, mean2, logvar2)
    back_mean2, back_logvar2, back_mean, back_logvar = kl_vjp(m, g, mean2, logvar2, mean, logvar)
    return by_mean + back_mean, by_logvar + back_logvar, by_mean2 + back_mean2, by_logvar2 + back_logvar2


def exp_of_less(m, t, rest):
    """exp(-|t + rest|), for the rest of log_ratio."""
    below = t < m.like(0.0, t)
    s = m.exp(m.where(below, t, -t))
    return s + s * m.where(below, rest, -rest)


def pooled(m, d, logvar, logvar2):
    """Of two log-variances, their difference t, exp(-|t|), and the inverse of the sum of the variances, the factor of
    d."""
    t, rest = log_ratio(m, logvar, logvar2)
    s = exp_of_less(m, t, rest)
    return t, s, precision(m, m.where(t < m.like(0.0, t), logvar2, logvar), d) / (m.like(1.0, t) + s)


def bhattacharyya(m, mean, logvar, mean2, logvar2):
    half, quarter = m.like(0.5, mean), m.like(0.25, mean)
    d = mean - mean2
    t, s, p = pooled(m, d, logvar, logvar2)
    size = m.where(t < m.like(0.0, t), -t, t)
    return (quarter * d) * (d * p) + half * log_cosh(m, half * size, s)


def bhattacharyya_vjp(m, g, mean, logvar, mean2, logvar2):
    one, half, quarter = m.like(1.0, mean), m.like(0.5, mean), m.like(0.25, mean)
    d = mean - mean2
    t, s, p = pooled(m, d, logvar, logvar2)
    below = t < m.like(0.0, t)
    slope = (half * (g * d)) * p
    curve = (half * d) * slope
    # tanh(|t| / 2), by which the larger log-variance moves the second term, and each variance's part of their sum.
    turn = (quarter * g) * (-m.expm1(m.where(below, t, -t)) / (one + s))
    by_larger, by_smaller = turn - curve * (one / (one + s)), -turn - curve * (s / (one + s))
    return slope, m.where(below, by_smaller, by_larger), -slope, m.where(below, by_larger, by_smaller)


def renyi_parts(m, d, logvar, logvar2, alpha):
    """Of two log-variances, their difference t, 1 - alpha and exp(-|t|); and of the variance (1 - alpha) exp(logvar) +
    alpha exp(logvar2) what part it is of the larger one, and its inverse, the factor of d."""
    zero, one = m.like(0.0, d), m.like(1.0, d)
    t, rest = log_ratio(m, logvar, logvar2)
    t = m.where(alpha == zero, zero, t)  # on which nothing depends then
    c, below, s = one - alpha, t < zero, exp_of_less(m, t, rest)
    part = m.where(below, alpha + c * s, c + alpha * s)
    p = factor(m, m.exp(-m.where(below, logvar2, logvar)) / part, d)
    return t, c, s, part, m.where((alpha == zero) & m.infinite(p), zero, p)


def renyi(m, mean, logvar, mean2, logvar2, alpha):
    # For 0 <= alpha < 1. The variance above, over that of the geometric mean, is 1 + x, and x has no negative term.
    zero, half, one, two = m.like(0.0, mean), m.like(0.5, mean), m.like(1.0, mean), m.like(2.0, mean)
    d = mean - mean2
    t, c, _, part, p = renyi_parts(m, d, logvar, logvar2, alpha)
    x = two * (c * m.half_expm1x(alpha * t) + alpha * m.half_expm1x(-c * t))
    held = x < m.like(float("inf"), x)
    largest = m.where(t < zero, -c * t, alpha * t)  # the larger exponent, without which nothing overflows
    log = m.log1p(m.where(held, x, (one - part) / part))
    return ((half * alpha) * d) * (d * p) + m.where(held, log, largest - log) / (two * c)


def renyi_vjp(m, g, mean, logvar, mean2, logvar2, alpha):
    half, d = m.like(0.5, mean), mean - mean2
    t, c, s, part, p = renyi_parts(m, d, logvar, logvar2, alpha)
    below = t < m.like(0.0, t)
    slope = (alpha * (g * d)) * p
    curve = (half * d) * slope
    turn = (half * g) * (alpha * m.expm1(m.where(below, t, -t)) / part)
    turn = m.where(below, turn, -turn)
    share, share2 = m.where(below, c * s, c) / part, m.where(below, alpha, alpha * s) / part
    return slope, turn - curve * share, -slope, -turn - curve * share2


def above_one(m, d, logvar, logvar2, alpha):
    """Of two log-variances, exp(t) - 1; 1 - 1 / alpha as c; what part the variance (1 - alpha) exp(logvar) + alpha
    exp(logvar2) is of alpha exp(logvar2); and alpha by that variance, the factor of d."""
    one, infinity = m.like(1.0, d), m.like(float("inf"), d)
    t, rest = log_ratio(m, logvar, logvar2)
    e = m.expm1(t)
    e = carried(m, e, rest, e + one)
    c = m.where(alpha == infinity, one, (alpha - one) / alpha)
    part = one / alpha - c * e
    return e, c, part, factor(m, m.exp(-logvar2) / part, d)


def renyi_above_one(m, mean, logvar, mean2, logvar2, alpha):
    # For alpha > 1, infinity too. With b = alpha - 1 and w = b (exp(t) - 1), what the variances give is half_expm1x(t),
    # and (-log(1 - w) - w) / (2 b), which is half_expm1x(log(1 - w)) / b. Neither is negative.
    zero, half, one, infinity = m.like(0.0, mean), m.like(0.5, mean), m.like(1.0, mean), m.like(float("inf"), mean)
    d, b = mean - mean2, alpha - one
    t, rest = log_ratio(m, logvar, logvar2)
    e, _, part, p = above_one(m, d, logvar, logvar2, alpha)
    w, y = b * e, m.half_expm1x(t)
    log = m.log1p(m.where(w < zero, -w, w / (one - w)))
    over_b = m.where(b == infinity, -half * e, m.half_expm1x(m.where(w < zero, log, -log)) / b)
    value = (half * d) * (d * p) + (carried(m, y, rest, y + half * t) + over_b)
    return m.where((part <= zero) & (t > zero), infinity, value)


def renyi_above_one_vjp(m, g, mean, logvar, mean2, logvar2, alpha):
    half, one, d = m.like(0.5, mean), m.like(1.0, mean), mean - mean2
    e, c, part, p = above_one(m, d, logvar, logvar2, alpha)
    held = m.where(part <= m.like(0.0, mean), m.like(float("nan"), mean), part)  # NaN where it is infinite
    slope = (g * d) * m.where(held == held, p, held)
    curve, turn = (half * d) * slope, (half * g) * (e / held)
    return slope, turn + curve * (c * (e + one) / held), -slope, -turn - curve / held


def nll(m, x, mean, logvar):
    half = m.like(0.5, mean)
    d = x - mean
    square = (half * d) * (d * precision(m, logvar, d))
    # An infinite square outgrows a log-variance of -inf, with which its sum would be NaN.
    return m.where(m.infinite(square), square, half * (m.like(LOG_2PI, mean) + logvar) + square)


def nll_vjp(m, g, x, mean, logvar):
    d = x - mean
    half = m.like(0.5, mean)
    slope = (g * d) * precision(m, logvar, d)  # as in kl_vjp
    return slope, -slope, half * g - (half * d) * slope


def log_prob(m, x, mean, logvar):
    return -nll(m, x, mean, logvar)


def log_prob_vjp(m, g, x, mean, logvar):
    return nll_vjp(m, -g, x, mean, logvar)


def two_at(m, z, mean, logvar, mean2, logvar2):
    """a = z - mean, b = z - mean2, one of them as c, and p and q: b^2 / exp(logvar2) - a^2 / exp(logvar) is
    (a + b) p + c q, and half its derivative in z is p + q. So nothing cancels where the two Gaussians are nearly equal,
    as the two squares would."""
    zero = m.like(0.0, mean)
    a, b, d = z - mean, z - mean2, mean - mean2
    t, _ = log_ratio(m, logvar, logvar2)
    below = t < zero
    inverse, inverse2 = precision(m, logvar, m.where(below, a, d)), precision(m, logvar2, m.where(below, d, b))
    c = m.where(below, a, b)
    q = (c * m.where(below, inverse, -inverse2)) * m.expm1(m.where(below, t, -t))
    return a, b, c, d * m.where(below, inverse2, inverse), m.where(t == zero, zero, q)


def log_density_ratio(m, z, mean, logvar, mean2, logvar2):
    zero, half = m.like(0.0, mean), m.like(0.5, mean)
    t, _ = log_ratio(m, logvar, logvar2)
    a, b, c, p, q = two_at(m, z, mean, logvar, mean2, logvar2)
    squares = (half * (a + b)) * p + (half * c) * q
    # As in nll, what is infinite of them outgrows t.
    return squares - m.where(m.infinite(squares) | m.infinite(-squares), zero, half * t)


def log_density_ratio_vjp(m, g, z, mean, logvar, mean2, logvar2):
    half = m.like(0.5, mean)
    a, b, _, p, q = two_at(m, z, mean, logvar, mean2, logvar2)
    slope, slope2 = (g * a) * precision(m, logvar, a), (g * b) * precision(m, logvar2, b)
    by_logvar, by_logvar2 = (half * a) * slope - half * g, half * g - (half * b) * slope2
    return g * (p + q), slope, by_logvar, -slope2, by_logvar2


def log_density_ratio_prior(m, z, mean, logvar):
    zero = m.like(0.0, mean)
    return log_density_ratio(m, z, mean, logvar, zero, zero)


def log_density_ratio_prior_vjp(m, g, z, mean, logvar):
    # By itself, and not as a case of the above, for which a kernel of half floats would run out of registers.
    half, below = m.like(0.5, mean), logvar < m.like(0.0, mean)
    a = z - mean
    slope, e = (g * a) * precision(m, logvar, a), m.expm1(m.where(below, logvar, -logvar))
    by_z = m.where(below, g * mean + slope * e, (g * mean) * precision(m, logvar, mean) - (g * z) * e)
    return by_z, slope, (half * a) * slope - half * g


def unlikelihood(m, x, logits):
    """Of a pixel x, what it says against the likelier outcome, which is NaN outside [0, 1]; and the logits' size."""
    zero, one = m.like(0.0, x), m.like(1.0, x)
    above = logits > zero
    against = m.where(above, one - x, x)
    inside = (x >= zero) & (x <= one)
    return m.where(inside, against, m.like(float("nan"), x)), m.where(above, logits, -logits)


def bernoulli_nll(m, x, logits):
    zero = m.like(0.0, x)
    against, size = unlikelihood(m, x, logits)
    return m.where(against == zero, zero, against * size) + m.log1p_unit(m.exp(-size))


def bernoulli_nll_vjp(m, g, x, logits):
    zero, one = m.like(0.0, x), m.like(1.0, x)
    against, size = unlikelihood(m, x, logits)
    s = m.exp(-size)
    beyond = against - s / (one + s)
    by_x = m.where(against == against, -logits, against)
    return g * by_x, g * m.where(logits > zero, beyond, -beyond)


def rarer(m, x):
    """Of the probability x, the smaller of x and 1 - x as w, NaN outside [0, 1]; and a normal number u in (0, 1] and an
    r, where log(w) is log(u) - r unless w is 0."""
    zero, one, least, scale = (
        m.like(0.0, x),
        m.like(1.0, x),
        m.like(5.421010862427522e-20, x),
        m.like(18446744073709551616.0, x),
    )
    inside = (x >= zero) & (x <= one)
    w = m.where(inside, m.where(x > m.like(0.5, x), one - x, x), m.like(float("nan"), x))
    u = m.where(w < least, w * scale, w)
    return w, m.where(w == zero, one, u), m.where(w < least, m.like(LOG_2_64, x), zero)


def bernoulli_entropy(m, x):
    # -log(u) is log1p((1 - u) / u), and -log(1 - w) is log1p(w / (1 - w)).
    one = m.like(1.0, x)
    w, u, r = rarer(m, x)
    return w * (m.log1p((one - u) / u) + r) + (one - w) * m.log1p_unit(w / (one - w))


def bernoulli_entropy_vjp(m, g, x):
    w, u, r = rarer(m, x)
    slope = m.log1p((m.like(1.0, x) - (w + u)) / u) + r
    slope = m.where(w == m.like(0.0, x), m.like(float("inf"), x), slope)
    return (g * m.where(x > m.like(0.5, x), -slope, slope),)


def discretized_nll(m, x, mean, logvar, width, low, high):
    is_open, _, d, edge = bin_edges(m, x, mean, width, low, high)
    inverse, square, power = bin_scales(m, is_open, d, edge, logvar, width)
    is_narrow, is_inside, outside, mass = bin_mass(m, is_open, d, edge, width, inverse, square, power)
    zero, half, one = m.like(0.0, x), m.like(0.5, x), m.like(1.0, x)
    exponent = square + m.like(0.5 * LOG_2PI, x) + m.where(is_narrow, half * power, zero)
    odds = m.where(is_inside, outside, zero) / m.where(is_inside, mass, one)
    # log1p of the odds is -log(1 - outside), though outside may be nothing beside 1.
    log = m.ln(m.where(is_narrow, mass * inverse, m.where(is_inside, one, mass)))
    return m.where(is_inside, zero, exponent) - log + m.log1p(odds)


def discretized_nll_vjp(m, g, x, mean, logvar, width, low, high):
    is_open, flip, d, edge = bin_edges(m, x, mean, width, low, high)
    inverse, square, power = bin_scales(m, is_open, d, edge, logvar, width)
    is_narrow, is_inside, _, mass = bin_mass(m, is_open, d, edge, width, inverse, square, power)
    zero, half, one = m.like(0.0, x), m.like(0.5, x), m.like(1.0, x)
    # The density at the nearer edge as a part of the mass; the farther one's is exp(-power) times that.
    height = m.exp(m.where(is_narrow, half * power, m.where(is_inside, -square, zero)))
    height = height * m.where(is_narrow, one, m.where(is_inside, m.like(PEAK, x), one) * factor(m, inverse, height))
    density, fall = g * (height / mass), m.expm1(-power)
    by_x = density * m.where(flip, fall, -fall)
    # Where there is no density at the edges, they may be infinitely far.
    return by_x, -by_x, (half * density) * m.where(density == zero, zero, width * m.exp(-power) + edge * fall)


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
    return m.where(x < zero, zero, x) + m.log1p_unit(m.exp(m.where(x < zero, x, -x)))


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
