"""What the tests compare with: mpmath at 50 digits, plain formulas, arrays of any library; knows nothing of agauss."""

import math

import ml_dtypes
import mpmath
import numpy as np

mp = mpmath.mp.clone()
mp.dps = 50

LIBRARIES = ("numpy", "torch")
EVERY_LIBRARY = ("numpy", "torch", "jax", "dask", "array_api_strict")
LOG_2PI = mp.log(2 * mp.pi)


# Arrays of any library


def array(library, values, dtype=None):
    """`values` as an array of the library, of the dtype of that name."""
    values = np.asarray(values)
    name = values.dtype.name if dtype is None else dtype
    host = values.astype(numpy_dtype(name))
    if library == "numpy":
        return host
    if library == "torch":
        import torch

        if name == "bfloat16":
            return torch.from_numpy(host.astype(np.float32)).to(torch.bfloat16)
        return torch.from_numpy(host.copy())
    if library == "jax":
        import jax.numpy as jnp

        return jnp.asarray(host)
    if library == "dask":
        import dask.array as da

        return da.from_array(host, chunks=tuple(max(1, (n + 1) // 2) for n in host.shape))
    if library == "array_api_strict":
        import array_api_strict

        return array_api_strict.asarray(host)
    raise ValueError(library)


def numpy_dtype(name):
    return np.dtype(ml_dtypes.bfloat16) if name == "bfloat16" else np.dtype(name)


def host(x):
    """Any library's array as a NumPy one of the same dtype."""
    if type(x).__module__.startswith("torch"):
        x = x.detach().cpu()
        if dtype_of(x) == "bfloat16":
            return x.float().numpy().astype(ml_dtypes.bfloat16)
        return x.numpy()
    if hasattr(x, "compute"):
        x = x.compute(scheduler="synchronous")
    return np.asarray(x)


def dtype_of(x):
    return str(getattr(x.dtype, "name", x.dtype)).rpartition(".")[2]


def library_of(x):
    return type(x).__module__.partition(".")[0].removesuffix("lib")


def same_bits(a, b):
    """Whether two NumPy arrays hold the same bits (so -0 is not 0, and a NaN is itself)."""
    a, b = np.asarray(a), np.asarray(b)
    return a.shape == b.shape and a.dtype == b.dtype and a.tobytes() == b.tobytes()


def wide(x):
    """float64 values of any array, to feed a plain formula."""
    return host(x).astype(np.float64)


# Plain formulas in NumPy float64, for sums and shapes


def plain_kl(mean, logvar, mean2=0.0, logvar2=0.0):
    """Element by element, by expm1 so that float64 is enough for float32 near the prior."""
    t = np.asarray(logvar, np.float64) - logvar2
    return 0.5 * (
        (np.asarray(mean, np.float64) - mean2) ** 2 * np.exp(-np.asarray(logvar2, np.float64)) + np.expm1(t) - t
    )


def plain_nll(x, mean, logvar):
    logvar = np.asarray(logvar, np.float64)
    return 0.5 * (math.log(2 * math.pi) + logvar + (np.asarray(x, np.float64) - mean) ** 2 * np.exp(-logvar))


def plain_entropy(logvar):
    return 0.5 * (1 + math.log(2 * math.pi) + np.asarray(logvar, np.float64))


# Errors of sums of terms, in ulp of the sum of the terms' sizes, in long double

PI = 4 * np.arctan(np.longdouble(1))


def long(x):
    return host(x).astype(np.float64).astype(np.longdouble)


def ulp(dtype, x):
    """The distance of neighbours of a dtype at x, whose own size does not matter."""
    info = ml_dtypes.finfo(dtype)
    exponents = np.frexp(np.abs(x))[1] - 1 - info.nmant
    unit = np.ldexp(np.longdouble(1), exponents)
    return np.where(x == 0, 0, np.maximum(unit, np.longdouble(float(info.smallest_subnormal))))


def assert_near(got, terms, ulps, compute, axes=(), relative=0.0, shape=None):
    """A sum of terms within so many ulp of the sum of their sizes, added up over the axes, and rounded to its dtype.

    `relative` is what adding up over axes may lose of the sum of all sizes.
    """
    got = host(got)
    terms = [np.broadcast_to(term, shape if shape is not None else np.shape(sum(terms))) for term in terms]
    sizes, want = sum(np.abs(term) for term in terms), sum(terms)
    limit = (ulps * ulp(compute, sizes)).sum(axes) + relative * sizes.sum(axes)
    want = np.asarray(want.sum(axes))
    assert got.shape == want.shape, (got.shape, want.shape)
    if got.dtype != compute:
        limit = limit + 0.501 * ulp(got.dtype, np.abs(want) + limit)
    beyond = np.abs(want) + limit > np.longdouble(float(ml_dtypes.finfo(got.dtype).max))
    error = np.abs(np.where(beyond, want, long(got)) - want)
    with np.errstate(divide="ignore", invalid="ignore"):
        assert np.all(error <= limit), f"{np.nanmax(error / limit):.3g} times its limit: {got} for {want}"


# The noise contract of docs/noise.md, by whole arrays


def plain_words(counter, key):
    """Philox4x32-10 as the paper's figure 3 has it, of uint64 arrays that hold 32 bits."""
    low, half = np.uint64(2**32 - 1), np.uint64(32)
    c, k = list(counter), list(key)
    for _ in range(10):
        left, right = c[0] * np.uint64(0xD2511F53), c[2] * np.uint64(0xCD9E8D57)
        c = [(right >> half) ^ c[1] ^ k[0], right & low, (left >> half) ^ c[3] ^ k[1], left & low]
        k = [(k[0] + np.uint64(0x9E3779B9)) & low, (k[1] + np.uint64(0xBB67AE85)) & low]
    return c


def plain_normals(seed, stream, draw, elements, dtype):
    """The normals of elements, an array of uint64, in long double; the words are rounded to the dtype first."""
    shape, elements = np.shape(elements), np.ravel(elements)  # arrays wrap around in silence, numbers do not
    bits, per_block = (64, 2) if dtype == "float64" else (32, 4)
    dtype = np.float64 if bits == 64 else np.float32
    block, place = elements // np.uint64(per_block), elements % np.uint64(per_block)
    low, half = np.uint64(2**32 - 1), np.uint64(32)
    counter = block & low, block >> half, np.full_like(block, draw), np.full_like(block, stream)
    words = plain_words(counter, (np.uint64(seed & 2**32 - 1), np.uint64(seed >> 32)))
    if bits == 64:
        length, turn = words[0] | words[1] << half, words[2] | words[3] << half
    else:
        length, turn = (np.where(place < 2, words[k], words[k + 2]) for k in (0, 1))
    u = length.astype(dtype) * dtype(2.0**-bits) + dtype(2.0 ** (-bits - 1))
    quarters = (turn + np.uint64(2 ** (bits - 3))) >> np.uint64(bits - 2)
    rest = (turn - (quarters << np.uint64(bits - 2))).view(np.int64)  # modulo 2^64: a turn of 64 bits begins anew
    angle = rest.astype(dtype).astype(np.longdouble) * (PI / np.longdouble(2) ** (bits - 1))
    sine, cosine = np.sin(angle), np.cos(angle)  # of the rest alone, lest a sum with quarters lose its digits
    turned = np.choose(
        ((quarters + place % 2 * 3) % 4).astype(np.int64), [cosine, -sine, -cosine, sine]
    )  # sin(a) = cos(a - quarter)
    normals = np.sqrt(-2 * np.log(u.astype(np.longdouble))) * turned
    return normals.reshape(shape)


# mpmath


def mp_map(formula, *arrays):
    """formula at each element of the broadcast arrays, their values taken as exact: an object array of mpf."""
    arrays = np.broadcast_arrays(*(np.asarray(a) for a in arrays))
    result = np.empty(arrays[0].shape, dtype=object)
    for place in np.ndindex(*result.shape):
        result[place] = formula(*(mp.mpf(float(a[place])) for a in arrays))
    return result


def mp_expm1x(t):
    """exp(t) - 1 - t, where 50 digits minus the cancellation would not do: a series below 1e-10."""
    if abs(t) < mp.mpf("1e-10"):
        return t * t / 2 * (1 + t / 3 * (1 + t / 4 * (1 + t / 5)))
    return mp.exp(t) - 1 - t


def mp_kl(mean, logvar, mean2=None, logvar2=None):
    mean2 = mp.mpf(0) if mean2 is None else mean2
    logvar2 = mp.mpf(0) if logvar2 is None else logvar2
    return ((mean - mean2) ** 2 * mp.exp(-logvar2) + mp_expm1x(logvar - logvar2)) / 2


def mp_nll(x, mean, logvar):
    return (LOG_2PI + logvar + (x - mean) ** 2 * mp.exp(-logvar)) / 2


# Errors in ulp


def ulp_error(got, want, scale=None):
    """|got - want| in units in the last place of `want` (or of `scale`, where larger), element by element, as float64.

    `want` holds mpf, or floats that are exact. One ulp is the distance between neighbours of the dtype at the correctly
    rounded value, so the smallest subnormal near 0. What the dtype cannot hold counts as its correctly rounded value:
    an overflow must give the infinity of its sign, a NaN must give NaN, an exact 0 must give 0; else the error is inf.
    """
    got = np.asarray(got)
    dtype = got.dtype
    info = ml_dtypes.finfo(dtype)
    want = np.broadcast_to(np.asarray(want, dtype=object), got.shape)
    scale = want if scale is None else np.broadcast_to(np.asarray(scale, dtype=object), got.shape)
    largest, tiny, digits = mp.mpf(float(info.max)), mp.mpf(float(info.smallest_subnormal)), info.nmant
    # Round to nearest: half an ulp over the largest number is where overflow begins.
    overflow = largest * (1 + mp.mpf(2) ** (-digits - 2))
    errors = np.empty(got.shape)
    for place in np.ndindex(*got.shape):
        g, w, s = float(got[place]), mp.mpf(want[place]), abs(mp.mpf(scale[place]))
        if mp.isnan(w):
            errors[place] = 0.0 if math.isnan(g) else math.inf
        elif abs(w) > overflow:
            errors[place] = 0.0 if g == (math.inf if w > 0 else -math.inf) else math.inf
        elif not math.isfinite(g):
            # The true value can be held. Just under overflow an infinity is one ulp or so away: counted, not excused.
            near = math.isinf(g) and (g > 0) == (w > 0) and abs(w) > largest * (1 - mp.mpf(2) ** (-digits + 1))
            errors[place] = 1.0 if near else math.inf
        else:
            s = max(s, abs(w))
            # frexp: s = f * 2**e with 1/2 <= f < 1, so its neighbours are 2**(e - 1 - digits) away.
            unit = max(mp.ldexp(1, mp.frexp(s)[1] - 1 - digits), tiny) if s else tiny
            errors[place] = float(abs(mp.mpf(g) - w) / unit)
    return errors


def assert_ulp(got, want, bound, inputs=(), scale=None):
    """Every element within `bound` ulp; on failure, the worst element and the inputs that gave it."""
    got = np.asarray(got)
    errors = ulp_error(got, want, scale)
    assert errors.size, "nothing was compared"
    if not np.all(errors <= bound):
        worst = np.unravel_index(np.argmax(errors), errors.shape)
        given = [float(np.broadcast_to(np.asarray(a), got.shape)[worst]) for a in inputs]
        truth = mp.nstr(mp.mpf(np.broadcast_to(np.asarray(want, dtype=object), got.shape)[worst]), 17)
        raise AssertionError(
            f"{int(np.sum(errors > bound))} of {errors.size} elements are more than {bound} ulp off; the worst by "
            f"{errors[worst]:.3g}: got {float(got[worst])!r}, true {truth}, at inputs {given}"
        )


def assert_relative(got, want, bound):
    """Every element within `bound` of a float64 reference, relative to it; infinities and NaN must match."""
    got, want = np.asarray(got, dtype=np.float64), np.asarray(want, dtype=np.float64)
    assert got.shape == want.shape, (got.shape, want.shape)
    finite = np.isfinite(want)
    np.testing.assert_array_equal(got[~finite], want[~finite])
    error = np.abs(got[finite] - want[finite])
    limit = bound * np.abs(want[finite])
    assert np.all(error <= limit), (
        f"relative error {np.max(error / np.maximum(np.abs(want[finite]), 5e-324)):.3g} > {bound}"
    )
