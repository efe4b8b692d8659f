/* The noise contract in C99: cc -std=c99 -O2 -ffp-contract=off noise.c -lm, with -DFLOAT64 for float64's noise. */
#include <stdint.h>
#include <string.h>
#include <tgmath.h>
#include "noise.h" /* real, word, signed_word, and the coefficients */
enum { BITS = 8 * sizeof(word), IN_BLOCK = 128 / BITS };
#define POLYNOMIAL(c, x) polynomial(c, sizeof c / sizeof *c, x)
static real polynomial(const real *c, int n, real x) {
    return n == 1 ? *c : fma(polynomial(c + 1, n - 1, x), x, *c);
}
static void philox(uint64_t seed, uint32_t stream, uint32_t draw, uint64_t block, uint32_t w[4]) {
    uint32_t k0 = seed, k1 = seed >> 32, c0 = block, c1 = block >> 32, c2 = draw, c3 = stream;
    for (int round = 0; round < 10; round++, k0 += 0x9E3779B9, k1 += 0xBB67AE85) {
        uint64_t p0 = (uint64_t)c0 * 0xD2511F53, p1 = (uint64_t)c2 * 0xCD9E8D57;
        c0 = (p1 >> 32) ^ c1 ^ k0, c1 = p1, c2 = (p0 >> 32) ^ c3 ^ k1, c3 = p0;
    }
    w[0] = c0, w[1] = c1, w[2] = c2, w[3] = c3;
}
void fold_in(uint64_t *seed, uint32_t *stream, uint64_t n) {
    uint32_t w[4];
    philox(*seed, *stream, 0xFFFFFFFF, n, w);
    *seed = w[0] | (uint64_t)w[1] << 32, *stream = w[2];
}
real normal(uint64_t seed, uint32_t stream, uint32_t draw, uint64_t element) {
    uint32_t w[4]; word pair[IN_BLOCK]; int k;
    philox(seed, stream, draw, element / IN_BLOCK, w);
    memcpy(pair, w, sizeof w); /* on a little-endian machine */
    word a = pair[element % IN_BLOCK & ~1], b = pair[element % IN_BLOCK | 1];
    real f = frexp(ldexp((real)a, -BITS) + ldexp((real)1, -BITS - 1), &k);
    if (f < ROOT_HALF) f *= 2, k--;
    real one = 1, s = f - one, z = s * s, whole = k * LN2[0], top = whole + s;
    real tail = fma((real)k, LN2[1], fma(s * z, POLYNOMIAL(LOG, s), -(z / 2)));
    real radius = sqrt(-2 * (top + ((s - (top - whole)) + tail)));
    word q = (b + ((word)1 << (BITS - 3))) >> (BITS - 2);
    real v = ldexp((real)(signed_word)(b - (q << (BITS - 2))), 3 - BITS), v2 = v * v;
    real sine = fma(v, TURN[0], v * fma(v2, POLYNOMIAL(SIN, v2), TURN[1])), cosine = fma(v2, POLYNOMIAL(COS, v2), one);
    real turned = (q ^ element) & 1 ? sine : cosine; /* normal 0 of a pair is radius * cos, normal 1 radius * sin */
    return radius * ((q + !(element & 1)) & 2 ? -turned : turned);
}
