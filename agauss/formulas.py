"""The maths of the diagonal Gaussian, one element at a time; knows no array, no library, no loop.

Each term is followed by its vector-Jacobian product: the cotangents of the term's values come first, then the term's
own arguments, and one cotangent for each argument comes back. `m` is the vocabulary: exp, expm1, expm1x, log1p, where,
and like(c, x), the number c in x's dtype. Constants go through `like`, or Numba would compute float32 in float64.
"""

# Throughout, s = exp(-logvar / 2) is 1 / std and u = (x - mean) * s the distance in standard deviations. Working with
# s, not with the inverse variance s * s, doubles the range of logvar before anything overflows; nothing is divided.

LOG_2PI = 1.8378770664093453


def value(m, x):
    return x


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
    # expm1x(t) = exp(t) - 1 - t is never negative, and has no cancellation at the prior, where KL is tiny.
    return m.like(0.5, mean) * (mean * mean + m.expm1x(logvar))


def kl_prior_vjp(m, g, mean, logvar):
    return g * mean, m.like(0.5, mean) * g * m.expm1(logvar)


def scaled(m, d, s):
    """d * s, and 0 where d is 0 though s may be infinite."""
    return m.where(d == m.like(0.0, d), d, d * s)


def log_ratio(m, logvar, logvar2):
    """The difference, and 0 where both are the same infinity."""
    return m.where(logvar == logvar2, m.like(0.0, logvar), logvar - logvar2)


def kl(m, mean, logvar, mean2, logvar2):
    half = m.like(0.5, mean)
    u = scaled(m, mean - mean2, m.exp(-half * logvar2))
    return half * (u * u + m.expm1x(log_ratio(m, logvar, logvar2)))


def kl_vjp(m, g, mean, logvar, mean2, logvar2):
    half = m.like(0.5, mean)
    s = m.exp(-half * logvar2)
    u = scaled(m, mean - mean2, s)
    e = m.expm1(log_ratio(m, logvar, logvar2))
    d_mean = g * scaled(m, u, s)
    return d_mean, half * g * e, -d_mean, -half * g * (u * u + e)


def nll(m, x, mean, logvar):
    half = m.like(0.5, mean)
    u = scaled(m, x - mean, m.exp(-half * logvar))
    square = u * u
    # An infinite square outgrows a log-variance of -inf, to which adding it would give NaN.
    total = m.where(square == m.like(float("inf"), mean), square, logvar + square)
    return half * (m.like(LOG_2PI, mean) + total)


def nll_vjp(m, g, x, mean, logvar):
    half = m.like(0.5, mean)
    s = m.exp(-half * logvar)
    u = scaled(m, x - mean, s)
    d_x = g * scaled(m, u, s)
    return d_x, -d_x, half * g * (m.like(1.0, mean) - u * u)


def log_prob(m, x, mean, logvar):
    return -nll(m, x, mean, logvar)


def log_prob_vjp(m, g, x, mean, logvar):
    return nll_vjp(m, -g, x, mean, logvar)


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
