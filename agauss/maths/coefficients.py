"""Numbers of the elementary functions, made by tools/minimax.py; polynomials are lowest power first."""

# error 2^-31.4
EXP_F32 = (
    float.fromhex("0x1.0000000000000p-1"),
    float.fromhex("0x1.5555560000000p-3"),
    float.fromhex("0x1.5554ea0000000p-5"),
    float.fromhex("0x1.1110e00000000p-7"),
    float.fromhex("0x1.6d43160000000p-10"),
    float.fromhex("0x1.a124e40000000p-13"),
)
# error 2^-27.5
EXPM1X_F32 = (
    float.fromhex("0x1.0000000000000p-1"),
    float.fromhex("0x1.5555560000000p-3"),
    float.fromhex("0x1.55557a0000000p-5"),
    float.fromhex("0x1.11111e0000000p-7"),
    float.fromhex("0x1.6bff520000000p-10"),
    float.fromhex("0x1.a009000000000p-13"),
    float.fromhex("0x1.a971fc0000000p-16"),
    float.fromhex("0x1.78a70e0000000p-19"),
)
# error 2^-26.5
LOG_F32 = (
    float.fromhex("0x1.5555540000000p-2"),
    float.fromhex("-0x1.fffffc0000000p-3"),
    float.fromhex("0x1.999d5a0000000p-3"),
    float.fromhex("-0x1.555b4a0000000p-3"),
    float.fromhex("0x1.23d21a0000000p-3"),
    float.fromhex("-0x1.fcf4c60000000p-4"),
    float.fromhex("0x1.dea2820000000p-4"),
    float.fromhex("-0x1.d635bc0000000p-4"),
    float.fromhex("0x1.1d8ea60000000p-4"),
)
# error 2^-32.4
SIN_F32 = (
    float.fromhex("-0x1.4abbce0000000p-4"),
    float.fromhex("0x1.466bc20000000p-9"),
    float.fromhex("-0x1.32ce1e0000000p-15"),
    float.fromhex("0x1.4cb7620000000p-22"),
)
# error 2^-30.5
COS_F32 = (
    float.fromhex("-0x1.3bd3cc0000000p-2"),
    float.fromhex("0x1.03c1ea0000000p-6"),
    float.fromhex("-0x1.55cb980000000p-12"),
    float.fromhex("0x1.db64920000000p-19"),
)
# error 2^-27.9
MILLS_F32 = (
    float.fromhex("0x1.e4aa020000000p+0"),
    float.fromhex("-0x1.8615da0000000p+0"),
    float.fromhex("0x1.f0d9840000000p-1"),
    float.fromhex("-0x1.dec3240000000p-2"),
    float.fromhex("0x1.360cfa0000000p-3"),
    float.fromhex("-0x1.359a760000000p-6"),
    float.fromhex("-0x1.1dd5300000000p-7"),
    float.fromhex("0x1.0ad2820000000p-8"),
    float.fromhex("0x1.5f425a0000000p-12"),
    float.fromhex("-0x1.1e31940000000p-11"),
    float.fromhex("-0x1.22575a0000000p-18"),
    float.fromhex("0x1.ce27f20000000p-15"),
)
LN2_0_F32 = float.fromhex("0x1.62e0000000000p-1")
LN2_1_F32 = float.fromhex("0x1.0bfbe80000000p-15")
TURN8_0_F32 = float.fromhex("0x1.921fb60000000p-1")
TURN8_1_F32 = float.fromhex("-0x1.777a5c0000000p-26")
ROOT_HALF_F32 = float.fromhex("0x1.6a09e60000000p-1")
HALF_WORD_F32 = float.fromhex("0x1.0000000000000p-33")
LOG2E_F32 = float.fromhex("0x1.7154760000000p+0")
ROUND_F32 = float.fromhex("0x1.8000000000000p+23")
EXP_LOW_F32 = float.fromhex("-0x1.a000000000000p+6")
EXP_HIGH_F32 = float.fromhex("0x1.6400000000000p+6")
SCALE_LOW_F32 = float.fromhex("-0x1.5c00000000000p+6")
LEAST_NORMAL_F32 = float.fromhex("0x1.0000000000000p-126")
LN_LEAST_NORMAL_F32 = float.fromhex("-0x1.5d58a00000000p+6")
HALF_EXP_HIGH_F32 = float.fromhex("0x1.6800000000000p+6")

# error 2^-61.3
EXP_F64 = (
    float.fromhex("0x1.0000000000000p-1"),
    float.fromhex("0x1.5555555555557p-3"),
    float.fromhex("0x1.5555555555556p-5"),
    float.fromhex("0x1.11111111100dfp-7"),
    float.fromhex("0x1.6c16c16c162d6p-10"),
    float.fromhex("0x1.a01a01abe62ddp-13"),
    float.fromhex("0x1.a01a01a6d7808p-16"),
    float.fromhex("0x1.71de02375656cp-19"),
    float.fromhex("0x1.27e4db67b4303p-22"),
    float.fromhex("0x1.af4ddd84882fep-26"),
    float.fromhex("0x1.1f72fc730b4ffp-29"),
)
# error 2^-61.0
EXPM1X_F64 = (
    float.fromhex("0x1.0000000000000p-1"),
    float.fromhex("0x1.5555555555555p-3"),
    float.fromhex("0x1.5555555555555p-5"),
    float.fromhex("0x1.11111111110d9p-7"),
    float.fromhex("0x1.6c16c16c16bfep-10"),
    float.fromhex("0x1.a01a01a023747p-13"),
    float.fromhex("0x1.a01a01a01e338p-16"),
    float.fromhex("0x1.71de3a4a2dee8p-19"),
    float.fromhex("0x1.27e4fb728bf10p-22"),
    float.fromhex("0x1.ae64643b799f9p-26"),
    float.fromhex("0x1.1eed9518c242bp-29"),
    float.fromhex("0x1.611b662223de4p-33"),
    float.fromhex("0x1.938f50b0d66c4p-37"),
    float.fromhex("0x1.b478aeefb45a8p-41"),
    float.fromhex("0x1.b3cdd9ad4768dp-45"),
)
# error 2^-58.0
LOG_F64 = (
    float.fromhex("0x1.5555555555555p-2"),
    float.fromhex("-0x1.0000000000007p-2"),
    float.fromhex("0x1.99999999998d7p-3"),
    float.fromhex("-0x1.5555555553457p-3"),
    float.fromhex("0x1.249249249e4a9p-3"),
    float.fromhex("-0x1.000000017c4eap-3"),
    float.fromhex("0x1.c71c71bf5db12p-4"),
    float.fromhex("-0x1.9999989e9f8b5p-4"),
    float.fromhex("0x1.745d1806bdea4p-4"),
    float.fromhex("-0x1.555582293998ep-4"),
    float.fromhex("0x1.3b13c73c82083p-4"),
    float.fromhex("-0x1.248da6617d7e1p-4"),
    float.fromhex("0x1.110a3cb814e7cp-4"),
    float.fromhex("-0x1.00471d25a052ap-4"),
    float.fromhex("0x1.e3351b0b8a06ap-5"),
    float.fromhex("-0x1.c29e22cde6a1cp-5"),
    float.fromhex("0x1.9ef55712af986p-5"),
    float.fromhex("-0x1.a4f2cb642aed7p-5"),
    float.fromhex("0x1.e4de09bbb15acp-5"),
    float.fromhex("-0x1.ba0db7c5ec460p-5"),
    float.fromhex("0x1.7d29370356709p-6"),
)
# error 2^-63.6
SIN_F64 = (
    float.fromhex("-0x1.4abbce625be53p-4"),
    float.fromhex("0x1.466bc6775aae1p-9"),
    float.fromhex("-0x1.32d2cce62b872p-15"),
    float.fromhex("0x1.50783486facaap-22"),
    float.fromhex("-0x1.e3074d2614b2dp-30"),
    float.fromhex("0x1.e8f036bcd3237p-38"),
    float.fromhex("-0x1.6cc577dadd922p-46"),
)
# error 2^-61.1
COS_F64 = (
    float.fromhex("-0x1.3bd3cc9be45dep-2"),
    float.fromhex("0x1.03c1f081b5ac0p-6"),
    float.fromhex("-0x1.55d3c7e3cb241p-12"),
    float.fromhex("0x1.e1f5068688d5bp-19"),
    float.fromhex("-0x1.a6d1eef479be1p-26"),
    float.fromhex("0x1.f9ce245cada0bp-34"),
    float.fromhex("-0x1.b2f3eb054afcdp-42"),
)
# error 2^-56.2
MILLS_F64 = (
    float.fromhex("0x1.e4aa012912ddep+0"),
    float.fromhex("-0x1.8615d9b49165fp+0"),
    float.fromhex("0x1.f0d9856bc3b07p-1"),
    float.fromhex("-0x1.dec30ee67901ap-2"),
    float.fromhex("0x1.360ce26020a85p-3"),
    float.fromhex("-0x1.35aa3c9530225p-6"),
    float.fromhex("-0x1.1dcfea79f1044p-7"),
    float.fromhex("0x1.0be6d6773e171p-8"),
    float.fromhex("0x1.5e7b1bb21fefap-12"),
    float.fromhex("-0x1.2fb435fa902a6p-11"),
    float.fromhex("-0x1.4100a93735555p-18"),
    float.fromhex("0x1.7180198c884c3p-14"),
    float.fromhex("0x1.e2431ed1d8839p-20"),
    float.fromhex("-0x1.f20f61cccd065p-17"),
    float.fromhex("-0x1.a7e7b13763430p-20"),
    float.fromhex("0x1.58c9d7de095c3p-19"),
    float.fromhex("0x1.6f017f72bb694p-21"),
    float.fromhex("-0x1.ae2b50fabb13ap-22"),
    float.fromhex("-0x1.d5081db108779p-23"),
    float.fromhex("0x1.81074648ce9aap-25"),
    float.fromhex("0x1.d12e7e2fec4a8p-25"),
    float.fromhex("-0x1.9edb739154363p-30"),
    float.fromhex("-0x1.471d42bc6d2adp-27"),
    float.fromhex("-0x1.439eced185599p-32"),
    float.fromhex("0x1.e479640555c3bp-31"),
)
LN2_0_F64 = float.fromhex("0x1.62e42fefa4000p-1")
LN2_1_F64 = float.fromhex("-0x1.8432a1b0e2634p-43")
TURN8_0_F64 = float.fromhex("0x1.921fb54442d18p-1")
TURN8_1_F64 = float.fromhex("0x1.1a62633145c07p-55")
ROOT_HALF_F64 = float.fromhex("0x1.6a09e667f3bcdp-1")
HALF_WORD_F64 = float.fromhex("0x1.0000000000000p-65")
LOG2E_F64 = float.fromhex("0x1.71547652b82fep+0")
ROUND_F64 = float.fromhex("0x1.8000000000000p+52")
EXP_LOW_F64 = float.fromhex("-0x1.7500000000000p+9")
EXP_HIGH_F64 = float.fromhex("0x1.6300000000000p+9")
SCALE_LOW_F64 = float.fromhex("-0x1.6200000000000p+9")
LEAST_NORMAL_F64 = float.fromhex("0x1.0000000000000p-1022")
LN_LEAST_NORMAL_F64 = float.fromhex("-0x1.6232bdd7abcd2p+9")
HALF_EXP_HIGH_F64 = float.fromhex("0x1.6380000000000p+9")
