// Made from agauss/maths/coefficients.py by tools/mirror.py.

namespace agauss {

struct EXP {};
__device__ __forceinline__ float parity_polynomial(EXP, float x) { return by_parity(x, 0x1.0000000000000p-1f, 0x1.5555560000000p-3f, 0x1.5554ea0000000p-5f, 0x1.1110e00000000p-7f, 0x1.6d43160000000p-10f, 0x1.a124e40000000p-13f); }
__device__ __forceinline__ double parity_polynomial(EXP, double x) { return by_parity(x, 0x1.0000000000000p-1, 0x1.5555555555557p-3, 0x1.5555555555556p-5, 0x1.11111111100dfp-7, 0x1.6c16c16c162d6p-10, 0x1.a01a01abe62ddp-13, 0x1.a01a01a6d7808p-16, 0x1.71de02375656cp-19, 0x1.27e4db67b4303p-22, 0x1.af4ddd84882fep-26, 0x1.1f72fc730b4ffp-29); }
struct EXPM1 {};
__device__ __forceinline__ float parity_polynomial(EXPM1, float x) { return by_parity(x, 0x1.0000000000000p-1f, 0x1.55555a0000000p-3f, 0x1.5555580000000p-5f, 0x1.110c5e0000000p-7f, 0x1.6c13000000000p-10f, 0x1.a4fcc00000000p-13f, 0x1.a401b00000000p-16f); }
__device__ __forceinline__ double parity_polynomial(EXPM1, double x) { return by_parity(x, 0x1.0000000000000p-1, 0x1.5555555555554p-3, 0x1.5555555555555p-5, 0x1.1111111111502p-7, 0x1.6c16c16c16e0fp-10, 0x1.a01a019f13a1ap-13, 0x1.a01a019f96e63p-16, 0x1.71de3c295efddp-19, 0x1.27e4fc6160782p-22, 0x1.ae612b4bcfca9p-26, 0x1.1eebf99bc9dabp-29, 0x1.63c6f815875c4p-33, 0x1.96399d94d85e4p-37); }
struct EXPM1X {};
__device__ __forceinline__ float polynomial(EXPM1X, float x) { return horner(x, 0x1.0000000000000p-1f, 0x1.5555560000000p-3f, 0x1.55557a0000000p-5f, 0x1.11111e0000000p-7f, 0x1.6bff520000000p-10f, 0x1.a009000000000p-13f, 0x1.a971fc0000000p-16f, 0x1.78a70e0000000p-19f); }
__device__ __forceinline__ double polynomial(EXPM1X, double x) { return horner(x, 0x1.0000000000000p-1, 0x1.5555555555555p-3, 0x1.5555555555555p-5, 0x1.11111111110d9p-7, 0x1.6c16c16c16bfep-10, 0x1.a01a01a023747p-13, 0x1.a01a01a01e338p-16, 0x1.71de3a4a2dee8p-19, 0x1.27e4fb728bf10p-22, 0x1.ae64643b799f9p-26, 0x1.1eed9518c242bp-29, 0x1.611b662223de4p-33, 0x1.938f50b0d66c4p-37, 0x1.b478aeefb45a8p-41, 0x1.b3cdd9ad4768dp-45); }
struct LOG {};
__device__ __forceinline__ float polynomial(LOG, float x) { return horner(x, 0x1.5555540000000p-2f, -0x1.fffffc0000000p-3f, 0x1.999d5a0000000p-3f, -0x1.555b4a0000000p-3f, 0x1.23d21a0000000p-3f, -0x1.fcf4c60000000p-4f, 0x1.dea2820000000p-4f, -0x1.d635bc0000000p-4f, 0x1.1d8ea60000000p-4f); }
__device__ __forceinline__ double polynomial(LOG, double x) { return horner(x, 0x1.5555555555555p-2, -0x1.0000000000007p-2, 0x1.99999999998d7p-3, -0x1.5555555553457p-3, 0x1.249249249e4a9p-3, -0x1.000000017c4eap-3, 0x1.c71c71bf5db12p-4, -0x1.9999989e9f8b5p-4, 0x1.745d1806bdea4p-4, -0x1.555582293998ep-4, 0x1.3b13c73c82083p-4, -0x1.248da6617d7e1p-4, 0x1.110a3cb814e7cp-4, -0x1.00471d25a052ap-4, 0x1.e3351b0b8a06ap-5, -0x1.c29e22cde6a1cp-5, 0x1.9ef55712af986p-5, -0x1.a4f2cb642aed7p-5, 0x1.e4de09bbb15acp-5, -0x1.ba0db7c5ec460p-5, 0x1.7d29370356709p-6); }
struct LOG1P {};
__device__ __forceinline__ float parity_polynomial(LOG1P, float x) { return by_parity(x, -0x1.8337060000000p-2f, 0x1.6f0d7c0000000p-3f, -0x1.7dde700000000p-4f, 0x1.a278e60000000p-5f, -0x1.da8bda0000000p-6f, 0x1.13473c0000000p-6f, -0x1.3d41520000000p-7f, 0x1.7b4d380000000p-8f, -0x1.2bf3460000000p-8f, 0x1.6f37820000000p-9f); }
__device__ __forceinline__ double parity_polynomial(LOG1P, double x) { return by_parity(x, -0x1.833704d019ed0p-2, 0x1.6f0d7bd624bd7p-3, -0x1.7ddf1fe86aa4cp-4, 0x1.a279c04c7e5f2p-5, -0x1.da348248c9748p-6, 0x1.131116f859f99p-6, -0x1.44ba45b687236p-7, 0x1.849050e7f3441p-8, -0x1.d5fb0441effb5p-9, 0x1.1ebcf501a62b1p-9, -0x1.607349cc55133p-10, 0x1.b3ea35294a5dep-11, -0x1.0f0bbf3f54cfdp-11, 0x1.5292b278874afp-12, -0x1.a77959c2fe8ccp-13, 0x1.0a7ccaee16ae0p-13, -0x1.5b909f11b2493p-14, 0x1.b84526ab4cb93p-15, -0x1.aab6e156061b4p-16, 0x1.0ed3a9c2aeec6p-16, -0x1.8b43016a53ef8p-16, 0x1.f9f2cb626decdp-17); }
struct SIN {};
__device__ __forceinline__ float polynomial(SIN, float x) { return horner(x, -0x1.4abbce0000000p-4f, 0x1.466bc20000000p-9f, -0x1.32ce1e0000000p-15f, 0x1.4cb7620000000p-22f); }
__device__ __forceinline__ double polynomial(SIN, double x) { return horner(x, -0x1.4abbce625be53p-4, 0x1.466bc6775aae1p-9, -0x1.32d2cce62b872p-15, 0x1.50783486facaap-22, -0x1.e3074d2614b2dp-30, 0x1.e8f036bcd3237p-38, -0x1.6cc577dadd922p-46); }
struct COS {};
__device__ __forceinline__ float polynomial(COS, float x) { return horner(x, -0x1.3bd3cc0000000p-2f, 0x1.03c1ea0000000p-6f, -0x1.55cb980000000p-12f, 0x1.db64920000000p-19f); }
__device__ __forceinline__ double polynomial(COS, double x) { return horner(x, -0x1.3bd3cc9be45dep-2, 0x1.03c1f081b5ac0p-6, -0x1.55d3c7e3cb241p-12, 0x1.e1f5068688d5bp-19, -0x1.a6d1eef479be1p-26, 0x1.f9ce245cada0bp-34, -0x1.b2f3eb054afcdp-42); }
struct MILLS {};
__device__ __forceinline__ float polynomial(MILLS, float x) { return horner(x, 0x1.c954020000000p-1f, -0x1.42d7ae0000000p-1f, 0x1.5c03ae0000000p-2f, -0x1.057fc60000000p-3f, 0x1.84692e0000000p-6f, 0x1.3bcbf20000000p-8f, -0x1.ffb36a0000000p-9f, 0x1.376ea60000000p-13f, 0x1.faa2140000000p-12f, -0x1.74da480000000p-15f, -0x1.9809a40000000p-15f); }
__device__ __forceinline__ double polynomial(MILLS, double x) { return horner(x, 0x1.c954025225bbcp-1, -0x1.42d7b116fd100p-1, 0x1.5c03a8a98d40fp-2, -0x1.057ecc79d7afap-3, 0x1.8470af3247c55p-6, 0x1.3b19ca7510f87p-8, -0x1.00860a7ed1101p-8, 0x1.6c197dcf03be4p-13, 0x1.0a43ed4cd0e76p-11, -0x1.2b82318427f85p-14, -0x1.3f923c179b4dap-14, 0x1.8f6bd7cf13ec4p-17, 0x1.cbb43ba94efcbp-17, -0x1.3289a65860b30p-20, -0x1.6d38abc7e1fb0p-19, -0x1.4c5300ea06a54p-23, 0x1.1becbf3839bffp-21, 0x1.1b4c5a891933bp-23, -0x1.7377864fde87ap-24, -0x1.85192c20d06a2p-25, 0x1.3055483c6f814p-27, 0x1.4ae76c005fd8bp-27, 0x1.e514a1f956f41p-34, -0x1.16bde460bcf93p-30, -0x1.240992f090bafp-33); }
struct LN2_0 {};
__device__ __forceinline__ float number(LN2_0, float) { return 0x1.62e0000000000p-1f; }
__device__ __forceinline__ double number(LN2_0, double) { return 0x1.62e42fefa4000p-1; }
struct LN2_1 {};
__device__ __forceinline__ float number(LN2_1, float) { return 0x1.0bfbe80000000p-15f; }
__device__ __forceinline__ double number(LN2_1, double) { return -0x1.8432a1b0e2634p-43; }
struct TURN8_0 {};
__device__ __forceinline__ float number(TURN8_0, float) { return 0x1.921fb60000000p-1f; }
__device__ __forceinline__ double number(TURN8_0, double) { return 0x1.921fb54442d18p-1; }
struct TURN8_1 {};
__device__ __forceinline__ float number(TURN8_1, float) { return -0x1.777a5c0000000p-26f; }
__device__ __forceinline__ double number(TURN8_1, double) { return 0x1.1a62633145c07p-55; }
struct ROOT_HALF {};
__device__ __forceinline__ float number(ROOT_HALF, float) { return 0x1.6a09e60000000p-1f; }
__device__ __forceinline__ double number(ROOT_HALF, double) { return 0x1.6a09e667f3bcdp-1; }
struct LOG2E {};
__device__ __forceinline__ float number(LOG2E, float) { return 0x1.7154760000000p+0f; }
__device__ __forceinline__ double number(LOG2E, double) { return 0x1.71547652b82fep+0; }
struct ROUND {};
__device__ __forceinline__ float number(ROUND, float) { return 0x1.8000000000000p+23f; }
__device__ __forceinline__ double number(ROUND, double) { return 0x1.8000000000000p+52; }
struct EXP_LOW {};
__device__ __forceinline__ float number(EXP_LOW, float) { return -0x1.a000000000000p+6f; }
__device__ __forceinline__ double number(EXP_LOW, double) { return -0x1.7500000000000p+9; }
struct EXP_HIGH {};
__device__ __forceinline__ float number(EXP_HIGH, float) { return 0x1.6400000000000p+6f; }
__device__ __forceinline__ double number(EXP_HIGH, double) { return 0x1.6300000000000p+9; }
struct SCALE_LOW {};
__device__ __forceinline__ float number(SCALE_LOW, float) { return -0x1.5c00000000000p+6f; }
__device__ __forceinline__ double number(SCALE_LOW, double) { return -0x1.6200000000000p+9; }
struct LEAST_NORMAL {};
__device__ __forceinline__ float number(LEAST_NORMAL, float) { return 0x1.0000000000000p-126f; }
__device__ __forceinline__ double number(LEAST_NORMAL, double) { return 0x1.0000000000000p-1022; }
struct LN_LEAST_NORMAL {};
__device__ __forceinline__ float number(LN_LEAST_NORMAL, float) { return -0x1.5d58a00000000p+6f; }
__device__ __forceinline__ double number(LN_LEAST_NORMAL, double) { return -0x1.6232bdd7abcd2p+9; }
struct HALF_EXP_HIGH {};
__device__ __forceinline__ float number(HALF_EXP_HIGH, float) { return 0x1.6800000000000p+6f; }
__device__ __forceinline__ double number(HALF_EXP_HIGH, double) { return 0x1.6380000000000p+9; }

}  // namespace agauss
