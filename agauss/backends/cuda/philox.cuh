// Made from agauss/maths/noise.py by tools/mirror.py.

namespace agauss {

constexpr Word MASK32 = 4294967295;

constexpr Word MULTIPLIER_0 = 0xd2511f53u, MULTIPLIER_1 = 0xcd9e8d57u;

constexpr Word WEYL_0 = 0x9e3779b9u, WEYL_1 = 0xbb67ae85u;

__device__ __forceinline__ auto philox(auto c0, auto c1, auto c2, auto c3, auto k0, auto k1) {
#pragma unroll
    for (int turn = 0; turn < 10; ++turn) {
        auto [high0, low0] = mulhilo(c0, Word(MULTIPLIER_0));
        auto [high1, low1] = mulhilo(c2, Word(MULTIPLIER_1));
        auto c0_ = (high1 ^ c1) ^ k0;
        auto c1_ = low1;
        auto c2_ = (high0 ^ c3) ^ k1;
        auto c3_ = low0;
        c0 = c0_;
        c1 = c1_;
        c2 = c2_;
        c3 = c3_;
        k0 = low(k0 + Word(WEYL_0));
        k1 = low(k1 + Word(WEYL_1));
    }
    return values(c0, c1, c2, c3);
}

__device__ __forceinline__ auto log(auto x) {
    auto [k, f] = split(x);
    auto s = f - like(1.0, x);
    auto z = s * s;
    auto tail = fma(s * z, polynomial(LOG{}, s), -(like(0.5, x) * z));
    tail = fma(k, number(LN2_1{}, x), tail);
    auto whole = k * number(LN2_0{}, x);
    auto top = whole + s;
    return top + ((s - (top - whole)) + tail);
}

__device__ __forceinline__ auto sincos_turn(auto word, auto x) {
    auto v = eighths(word, x);
    auto z = v * v;
    auto s = fma(v, number(TURN8_0{}, x), v * fma(z, polynomial(SIN{}, z), number(TURN8_1{}, x)));
    auto c = fma(z, polynomial(COS{}, z), like(1.0, x));
    return turned(word, s, c);
}

__device__ __forceinline__ auto radius(auto word, auto x) {
    return sqrt(like(-2.0, x) * log(fraction(word, x)));
}

__device__ __forceinline__ auto around(auto length, auto word, auto x) {
    auto [sine, cosine] = sincos_turn(word, x);
    return values(length * cosine, length * sine);
}

__device__ __forceinline__ auto normal_pair(auto a, auto b, auto x) {
    return around(radius(a, x), b, x);
}

__device__ __forceinline__ auto normals32(auto words, auto x) {
    auto [n0, n1] = normal_pair(words.v0, words.v1, x);
    auto [n2, n3] = normal_pair(words.v2, words.v3, x);
    return values(n0, n1, n2, n3);
}

__device__ __forceinline__ auto normals64(auto words, auto x) {
    return normal_pair(join(words.v0, words.v1), join(words.v2, words.v3), x);
}

}  // namespace agauss
