"""What the terms of formulas.py share, one element at a time; `m` is their vocabulary."""

LOG_2 = 0.6931471805599453
PEAK = 0.3989422804014327  # of the standard normal density, 1 / sqrt(2 pi)


def factor(m, p, d):
    """p, the factor of d; 1 where it is infinite and d is 0, so that their product is 0."""
    nothing = (d == m.like(0.0, d)) & m.infinite(p)
    return m.where(nothing, m.like(1.0, d), p)


def precision(m, logvar, d):
    """exp(-logvar), the factor of d."""
    return factor(m, m.exp(-logvar), d)


def difference(m, a, b):
    """a - b, and what its rounding left over: 0 where it is infinite."""
    d = a - b
    shadow = d - a
    rest = (a - (d - shadow)) - (b + shadow)
    return d, m.where(m.infinite(d) | m.infinite(-d), m.like(0.0, d), rest)


def log_ratio(m, logvar, logvar2):
    """logvar - logvar2 as t and what its rounding left over, which exp(t) would magnify |t| times; 0 where both are
    the same infinity."""
    t, rest = difference(m, logvar, logvar2)
    zero, same = m.like(0.0, t), logvar == logvar2
    return m.where(same, zero, t), m.where(same, zero, rest)


def carried(m, y, rest, slope):
    """y + rest * slope, and y where that is infinite already."""
    zero, over = m.like(0.0, y), m.infinite(y)
    return y + m.where(over, zero, rest) * m.where(over, zero, slope)


def spread(m, logvar, logvar2):
    """Of two log-variances, their difference t, the larger variance, and e = exp(-|t| / 2) - 1, by which the smaller
    standard deviation falls short of the larger. The variance is 0 where the two are equal, even if infinite."""
    zero, half = m.like(0.0, logvar), m.like(0.5, logvar)
    t, _ = log_ratio(m, logvar, logvar2)
    largest = m.exp(m.where(t < zero, logvar2, logvar))
    return t, m.where(t == zero, zero, largest), m.expm1(-half * m.where(t < zero, -t, t))


def log_cosh(m, u, s):
    """log(cosh(u)) for u >= 0, given s = exp(-2 u): by cosh(u) - 1 where u is small, else by u - log 2."""
    zero, near = m.like(0.0, u), u <= m.like(1.0, u)
    small = m.where(near, u, zero)
    rise = m.half_expm1x(small) + m.half_expm1x(-small)
    return m.where(near, zero, u - m.like(LOG_2, u)) + m.log1p_unit(m.where(near, rise, s))


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
    square = (half * edge) * (edge * precision(m, logvar, edge))
    return m.exp(-half * logvar), square, m.where(is_open, infinity, (d * width) * precision(m, logvar, d))


def bin_mass(m, is_open, d, edge, width, inverse, square, power):
    """The mass of a bin, told in one of three ways, so that it neither cancels nor underflows.

    Of a narrow bin it is exp(-square - power / 2) / sqrt(2 pi) / std times `mass`; of another with the mean inside, 1
    less `outside`, which is `mass`; and else exp(-square) / sqrt(2 pi) times `mass`, a difference of Mills' ratios.
    """
    zero, half, one = m.like(0.0, d), m.like(0.5, d), m.like(1.0, d)
    near = m.mills(m.where(edge < zero, -edge, edge) * factor(m, inverse, edge))
    far = m.exp(-power) * m.mills(m.where(is_open, zero, (d + half * width) * inverse))
    outside = m.like(PEAK, d) * m.exp(-square) * (near + far)

    widest = m.like(1.5, d)
    stds = width * inverse
    is_narrow = (stds <= widest) & (power <= m.like(2.0, d))
    is_inside = (edge < zero) & ((stds > widest) | is_open)
    # Chosen before they are squared, for a derivative of what is not chosen would be infinite.
    p, s = half * m.where(is_narrow, stds, zero), half * m.where(is_narrow, power, zero)
    average = mean_over_bin(m, p * p, s * s)
    mass = m.where(is_narrow, width * average, m.where(is_inside, one - outside, near - far))
    return is_narrow, is_inside, outside, mass
