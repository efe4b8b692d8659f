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
