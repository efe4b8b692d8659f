"""Where the numbers in agauss/maths/coefficients.py come from: run this file to print that one.

Each table holds a polynomial that interpolates its function at the Chebyshev nodes of an interval, solved in 60
digits and rounded to the nearest float32 or float64 once. That is within a small factor of the minimax polynomial and
needs no exchange algorithm. The degree is the lowest whose error, as a part of the result, is under the bound.
"""

from mpmath import mp, mpf

mp.dps = 60
TURN8 = mp.pi / 4
ROOT_HALF = mp.sqrt(mpf(1) / 2)


def series(f, terms):
    """f, but its Taylor series `terms` (lowest first) near 0, where f's own form cancels."""
    return lambda x: sum(c * x**k for k, c in enumerate(terms)) if abs(x) < 1e-6 else f(x)


expm1x = series(lambda r: (mp.expm1(r) - r) / r**2, [mpf(1) / mp.factorial(k + 2) for k in range(12)])

log1p_less = series(lambda s: (mp.log1p(s) - s) / s**2, [mpf((-1) ** (k + 1)) / (k + 2) for k in range(12)])


def mills(q):
    """r with (1 - Phi(x)) / phi(x) = (1 + (1 - q) r) / (x + 4) for q = (x - 4) / (x + 4), which is 1 at infinity."""
    if q == 1:
        return mpf(1) / 2
    x = 4 * (1 + q) / (1 - q)
    return ((x + 4) * mp.exp(x**2 / 2) * mp.sqrt(mp.pi / 2) * mp.erfc(x / mp.sqrt(2)) - 1) / (1 - q)


# name -> (function, low end, high end, weight: how much of the result's relative error the polynomial's own is)
TABLES = {
    # (exp(r) - 1 - r) / r^2 in exp and in expm1, and where the array-API form reduces no argument to r.
    "EXP": (expm1x, -mp.log(2) / 2, mp.log(2) / 2, lambda r: r**2),
    "EXPM1": (expm1x, -mp.log(2), mp.log(2), lambda r: 1),
    "EXPM1X": (expm1x, mpf(-1), mpf(1), lambda r: 1),
    "LOG": (series(lambda s: (mp.log1p(s) - s + s**2 / 2) / s**3, [mpf((-1) ** k) / (k + 3) for k in range(12)]),
            ROOT_HALF - 1, 2 * ROOT_HALF - 1, lambda s: s**2),
    # In q = s - 1/2, for s from 0 to 1.
    "LOG1P": (lambda q: log1p_less(q + mpf(1) / 2), mpf(-1) / 2, mpf(1) / 2, lambda q: q + mpf(1) / 2),
    "SIN": (series(lambda z: (mp.sin(TURN8 * mp.sqrt(z)) / mp.sqrt(z) - TURN8) / z,
                   [(-1) ** (k + 1) * TURN8 ** (2 * k + 3) / mp.factorial(2 * k + 3) for k in range(8)]),
            mpf(0), mpf(1), lambda z: z),
    "COS": (series(lambda z: (mp.cos(TURN8 * mp.sqrt(z)) - 1) / z,
                   [(-1) ** (k + 1) * TURN8 ** (2 * k + 2) / mp.factorial(2 * k + 2) for k in range(8)]),
            mpf(0), mpf(1), lambda z: z),
    "MILLS": (mills, mpf(-1), mpf(1), lambda q: (1 - q) * mills(q) / (1 + (1 - q) * mills(q))),
}  # fmt: skip
DTYPES = {"F32": (24, mpf(2) ** -26), "F64": (53, mpf(2) ** -56)}


def interpolate(f, low, high, degree):
    """Coefficients, lowest first, of the polynomial through f at the interval's Chebyshev nodes."""
    nodes = [
        (low + high) / 2 + (high - low) / 2 * mp.cos(mp.pi * (2 * k + 1) / (2 * degree + 2)) for k in range(degree + 1)
    ]
    return mp.lu_solve(mp.matrix([[x**k for k in range(degree + 1)] for x in nodes]), mp.matrix([f(x) for x in nodes]))


def rounded(x, bits):
    with mp.workprec(bits):
        return +x


def lowest_degree(f, low, high, weight, bits, bound):
    points = [low + (high - low) * k / 400 for k in range(401)]
    values = [f(x) for x in points]
    for degree in range(2, 30):
        coefficients = [rounded(c, 200) for c in interpolate(f, low, high, degree)]
        error = max(
            abs((mp.polyval(coefficients[::-1], x) / true - 1) * weight(x))
            for x, true in zip(points, values, strict=True)
        )
        if error < bound:
            return [rounded(c, bits) for c in coefficients], error
    raise ValueError("no degree under 30 will do")


def literal(x):
    return float(x).hex()


if __name__ == "__main__":
    print('"""Numbers of the elementary functions, made by tools/minimax.py; polynomials are lowest power first."""')
    for dtype, (bits, bound) in DTYPES.items():
        print()
        for name, table in TABLES.items():
            coefficients, error = lowest_degree(*table, bits, bound)
            print(f"# error 2^{float(mp.log(error, 2)):.1f}")
            print(f"{name}_{dtype} = (")
            for c in coefficients:
                print(f'    float.fromhex("{literal(c)}"),')
            print(")")
        # ln 2 and pi/4 in two parts each; the first of ln 2 has few enough bits that k * LN2_0 is exact.
        ln2, turn8 = rounded(mp.log(2), bits - 12), rounded(TURN8, bits)
        numbers = {
            "LN2_0": ln2,
            "LN2_1": rounded(mp.log(2) - ln2, bits),
            "TURN8_0": turn8,
            "TURN8_1": rounded(TURN8 - turn8, bits),
            "ROOT_HALF": rounded(ROOT_HALF, bits),
            "LOG2E": rounded(1 / mp.log(2), bits),
            "ROUND": mpf(3) * 2 ** (bits - 2),  # adding it rounds to an integer, left in the low bits
            "EXP_LOW": mpf(-104 if bits == 24 else -746),  # exp rounds to 0 below
            # exp overflows from below here, with 2^n still a power that n's bits can hold
            "EXP_HIGH": mpf(89 if bits == 24 else 710),
            # 2^(n - 1) is 0 or the least normal here, and exp nothing beside 1
            "SCALE_LOW": mpf(-87 if bits == 24 else -708),
            "LEAST_NORMAL": mpf(2) ** (-126 if bits == 24 else -1022),
            "LN_LEAST_NORMAL": rounded(mp.log(2) * (-126 if bits == 24 else -1022), bits),
            "HALF_EXP_HIGH": mpf(90 if bits == 24 else 711),  # exp(x) / 2 overflows below here
        }
        for name, number in numbers.items():
            print(f'{name}_{dtype} = float.fromhex("{literal(number)}")')
