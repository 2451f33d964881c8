// 16-bit storage formats and their conversions, rounded to nearest even.
#pragma once

#include <string.h>

struct __half {
    unsigned short bits;
};

struct __nv_bfloat16 {
    unsigned short bits;
};

namespace chip::host {

inline unsigned bits_of(float value) {
    unsigned bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

inline float float_of(unsigned bits) {
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

inline float widen(__nv_bfloat16 value) { return float_of(unsigned(value.bits) << 16); }

inline float widen(__half value) {
    const unsigned sign = (value.bits & 0x8000u) << 16;
    const unsigned exponent = (value.bits >> 10) & 0x1fu;
    const unsigned fraction = value.bits & 0x3ffu;
    if (exponent == 0) {  // zero and the subnormals, in units of 2^-24
        const float magnitude = float(fraction) * 0x1p-24f;
        return float_of(bits_of(magnitude) | sign);
    }
    if (exponent == 31) return float_of(sign | 0x7f800000u | (fraction << 13));
    return float_of(sign | ((exponent + 112) << 23) | (fraction << 13));
}

inline __nv_bfloat16 narrow_to_bfloat16(float value) {
    const unsigned bits = bits_of(value);
    if (value != value) return {0x7fff};
    return {static_cast<unsigned short>((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16)};
}

inline __half narrow_to_half(float value) {
    const unsigned bits = bits_of(value);
    const unsigned sign = (bits >> 16) & 0x8000u;
    const unsigned magnitude = bits & 0x7fffffffu;
    if (magnitude > 0x7f800000u) return {0x7fff};
    if (magnitude >= 0x477ff000u) return {static_cast<unsigned short>(sign | 0x7c00u)};  // 65520 and above
    if (magnitude < 0x38800000u) {  // below 2^-14: adding 0.5 leaves it, rounded to units of 2^-24, in the low bits
        const unsigned rounded = bits_of(float_of(magnitude) + 0.5f) - bits_of(0.5f);
        return {static_cast<unsigned short>(sign | rounded)};
    }
    const unsigned rounded = magnitude + 0xfffu + ((magnitude >> 13) & 1u);
    return {static_cast<unsigned short>(sign | ((rounded - 0x38000000u) >> 13))};
}

}  // namespace chip::host
