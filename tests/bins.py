"""The plain form of discretized_nll: Gauss and Legendre's quadrature of the density, at what is NumPy's, PyTorch's or
JAX's; knows nothing of agauss."""

import numpy as np

HALF_LOG_2PI = np.log(8 * np.arctan(np.longdouble(1))) / 2
DEPTH = 48  # nats under the nearer edge's density, where the integral may end: 1e-21 of it


def legendre(count):
    """Nodes within [0, 1] and their weights, in long double: NumPy's own are float64's, and Newton's method does it."""
    x = np.polynomial.legendre.leggauss(count)[0].astype(np.longdouble)
    for _ in range(2):
        before, here = np.ones_like(x), x
        for n in range(2, count + 1):
            before, here = here, ((2 * n - 1) * x * here - (n - 1) * before) / n
        slope = count * (before - x * here) / (1 - x * x)
        x = x - here / slope
    return (1 + x) / 2, 1 / ((1 - x * x) * slope**2)


RULE = list(zip(*legendre(48), strict=True))


def real(x):
    return x.real if isinstance(x, np.ndarray | np.generic) else x


def own(m, c):
    """A constant, of as many digits as the library has."""
    return c if m is np else float(c)


def tail_mass(m, a, length):
    """The integral of exp(-a y - y^2 / 2) over y from 0 to a length, for a >= 0."""
    deepest = 2 * DEPTH / (a + m.sqrt(a * a + 2 * DEPTH))
    length = m.where(real(length) < real(deepest), length, deepest)
    return length * sum(
        own(m, weight) * m.exp(-(a + length * own(m, y) / 2) * (length * own(m, y))) for y, weight in RULE
    )


def centre_mass(m, t, w):
    """The integral of exp(-t y - y^2 / 2) over y from -w / 2 to w / 2, by a form that is even in t."""
    half = w / 2
    return w * sum(
        own(m, weight) * m.cosh(t * half * own(m, y)) * m.exp(-((half * own(m, y)) ** 2) / 2) for y, weight in RULE
    )


def density(m, a):
    return m.exp(-a * a / 2 - own(m, HALF_LOG_2PI))


def minus_log1p(m, z):
    """-log(1 - z); NumPy's own log1p cancels where numbers are complex."""
    if m is np and np.iscomplexobj(z):
        return -np.log1p(-z.real) + 1j * z.imag / (1 - z.real)
    return -m.log1p(-z)


def discretized_nll(m, x, mean, logvar, width, low, high):
    """Half a square, and the logarithm of what is left; or, of a wide bin that contains the mean, the whole logarithm.

    Of a value under 1, half of what it changes by counts as two terms, when both edges move by their distance from the
    mean.
    """
    below, above = real(x) <= low, real(x) >= high
    is_open, upwards = below | above, above | (~below & (real(x) >= real(mean)))
    d, scale = m.where(upwards, x - mean, mean - x), m.exp(-logvar / 2)
    t, w = d * scale, width * scale
    near, far = t - w / 2, t + w / 2
    none = 0 * near
    one, endless, half_log = none + 1, none + 100, none + own(m, HALF_LOG_2PI)
    at_centre = ~is_open & (real(w) < 4) & (real(t * w) < 3)
    outside = ~at_centre & (real(near) >= 0)
    inside = ~at_centre & ~outside

    a = m.where(outside, near, none)
    beyond = tail_mass(m, a, m.where(is_open, endless, w))
    around = centre_mass(m, m.where(at_centre, t, none), m.where(at_centre, w, none + 1))
    left, right = m.where(real(near) < 0, -near, none), m.where(is_open, none, far)
    lost = density(m, left) * tail_mass(m, left, endless)
    lost = lost + m.where(is_open, none, density(m, right) * tail_mass(m, right, endless))

    square = m.where(at_centre, t * t / 2, a * a / 2)
    whole = minus_log1p(m, m.where(inside, lost, none))
    rest = m.where(inside, whole, half_log - m.log(m.where(at_centre, around, m.where(outside, beyond, one))))
    sensitive = real(square + rest) < 1
    inverse_mass = m.exp(m.where(sensitive, square + rest, none))
    change = m.where(sensitive, left * density(m, left) + right * density(m, right), none) * inverse_mass / 2
    return square, rest, change, -change
