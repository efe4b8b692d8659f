// The noise contract in JavaScript, whose fused multiply-add is made of integers: exact, and slow.
const WIDTHS = require("./noise.json"); // the coefficients
function philox(seed, stream, draw, block) {
  const low = (x) => x & 0xffffffffn;
  let [c0, c1, c2, c3, k0, k1] = [low(block), block >> 32n, draw, stream, low(seed), seed >> 32n];
  for (let round = 0; round < 10; round++, k0 = low(k0 + 0x9e3779b9n), k1 = low(k1 + 0xbb67ae85n)) {
    const p0 = c0 * 0xd2511f53n, p1 = c2 * 0xcd9e8d57n;
    [c0, c1, c2, c3] = [(p1 >> 32n) ^ c1 ^ k0, low(p1), (p0 >> 32n) ^ c3 ^ k1, low(p0)];
  }
  return [c0, c1, c2, c3];
}
const exact = (x, e = 0) => (Number.isInteger(x) ? [BigInt(x), e] : exact(2 * x, e - 1)); // x = m 2^e
function normal(seed, stream, draw, element, bits) { // BigInts, and 32 or 64
  const T = WIDTHS[bits], inBlock = BigInt(128 / bits), wide = BigInt(bits);
  const r = bits === 32 ? Math.fround : (x) => x, kept = bits === 32 ? 50 : 79;
  const fma = (a, b, c) => { // exact, cut to more bits than are kept, the last one odd where it lost any; then rounded
    const [m, e] = exact(a), [n, f] = exact(b), [p, g] = exact(c), low = Math.min(e + f, g);
    const sum = ((m * n) << BigInt(e + f - low)) + (p << BigInt(g - low));
    const cut = BigInt(Math.max(0, sum.toString(2).replace("-", "").length - kept)), top = sum >> cut;
    return r(Number(top << cut === sum ? top : top | 1n)) * 2 ** (low + Number(cut));
  };
  const polynomial = (c, x) => c.map(r).reduceRight((y, next) => fma(y, x, next));
  const [LN2, TURN, ROOT_HALF] = [T.LN2.map(r), T.TURN.map(r), r(T.ROOT_HALF)];
  const w = philox(seed, stream, draw, element / inBlock), place = Number(element % inBlock);
  const words = bits === 32 ? w : [w[0] | (w[1] << 32n), w[2] | (w[3] << 32n)];
  const a = words[place & ~1], b = words[place | 1];
  let k = 0, f = r(r(Number(a)) * 2 ** -bits + 2 ** (-bits - 1));
  for (; f < ROOT_HALF; f *= 2) k--;
  const s = r(f - 1), z = r(s * s), whole = k * LN2[0], top = r(whole + s);
  const tail = fma(k, LN2[1], fma(r(s * z), polynomial(T.LOG, s), -z / 2));
  const radius = r(Math.sqrt(-2 * r(top + r(r(s - r(top - whole)) + tail))));
  const q = BigInt.asUintN(bits, b + (1n << (wide - 3n))) >> (wide - 2n);
  const v = r(Number(BigInt.asIntN(bits, b - (q << (wide - 2n))))) * 2 ** (3 - bits), v2 = r(v * v);
  const sine = fma(v, TURN[0], r(v * fma(v2, polynomial(T.SIN, v2), TURN[1])));
  const cosine = fma(v2, polynomial(T.COS, v2), 1);
  const turned = (Number(q) ^ place) & 1 ? sine : cosine;
  return r(radius * ((Number(q) + 1 - (place & 1)) & 2 ? -turned : turned));
}
module.exports = { philox, normal };
