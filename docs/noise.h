/* The coefficients of docs/noise.md for noise.c, lowest power first, and the types of each width. */
#ifdef FLOAT64
typedef double real; typedef uint64_t word; typedef int64_t signed_word;
static const real LOG[] = {0x1.5555555555555p-2, -0x1.0000000000007p-2, 0x1.99999999998d7p-3, -0x1.5555555553457p-3,
    0x1.249249249e4a9p-3, -0x1.000000017c4eap-3, 0x1.c71c71bf5db12p-4, -0x1.9999989e9f8b5p-4, 0x1.745d1806bdea4p-4,
    -0x1.555582293998ep-4, 0x1.3b13c73c82083p-4, -0x1.248da6617d7e1p-4, 0x1.110a3cb814e7cp-4, -0x1.00471d25a052ap-4,
    0x1.e3351b0b8a06ap-5, -0x1.c29e22cde6a1cp-5, 0x1.9ef55712af986p-5, -0x1.a4f2cb642aed7p-5, 0x1.e4de09bbb15acp-5,
    -0x1.ba0db7c5ec46p-5, 0x1.7d29370356709p-6};
static const real SIN[] = {-0x1.4abbce625be53p-4, 0x1.466bc6775aae1p-9, -0x1.32d2cce62b872p-15, 0x1.50783486facaap-22,
    -0x1.e3074d2614b2dp-30, 0x1.e8f036bcd3237p-38, -0x1.6cc577dadd922p-46};
static const real COS[] = {-0x1.3bd3cc9be45dep-2, 0x1.03c1f081b5acp-6, -0x1.55d3c7e3cb241p-12, 0x1.e1f5068688d5bp-19,
    -0x1.a6d1eef479be1p-26, 0x1.f9ce245cada0bp-34, -0x1.b2f3eb054afcdp-42};
static const real LN2[] = {0x1.62e42fefa4p-1, -0x1.8432a1b0e2634p-43};
static const real TURN[] = {0x1.921fb54442d18p-1, 0x1.1a62633145c07p-55};
static const real ROOT_HALF = 0x1.6a09e667f3bcdp-1;
#else
typedef float real; typedef uint32_t word; typedef int32_t signed_word;
static const real LOG[] = {0x1.555554p-2f, -0x1.fffffcp-3f, 0x1.999d5ap-3f, -0x1.555b4ap-3f, 0x1.23d21ap-3f,
    -0x1.fcf4c6p-4f, 0x1.dea282p-4f, -0x1.d635bcp-4f, 0x1.1d8ea6p-4f};
static const real SIN[] = {-0x1.4abbcep-4f, 0x1.466bc2p-9f, -0x1.32ce1ep-15f, 0x1.4cb762p-22f};
static const real COS[] = {-0x1.3bd3ccp-2f, 0x1.03c1eap-6f, -0x1.55cb98p-12f, 0x1.db6492p-19f};
static const real LN2[] = {0x1.62ep-1f, 0x1.0bfbe8p-15f};
static const real TURN[] = {0x1.921fb6p-1f, -0x1.777a5cp-26f};
static const real ROOT_HALF = 0x1.6a09e6p-1f;
#endif
