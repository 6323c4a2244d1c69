// float16 as CUDA has it: a number of two bytes, converted to float and back, to the nearest and of two the even one.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

struct __half {
    std::uint16_t bits;
};

inline float __half2float(__half value) {
    int const exponent = value.bits >> 10 & 31, fraction = value.bits & 1023;
    float const sign = value.bits >> 15 != 0 ? -1.0f : 1.0f;
    if (exponent == 31) {
        return fraction != 0 ? NAN : sign * INFINITY;
    }
    return sign * (exponent == 0 ? std::ldexp(static_cast<float>(fraction), -24)
                                 : std::ldexp(static_cast<float>(fraction + 1024), exponent - 25));
}

inline __half __float2half(float value) {
    std::uint16_t const sign = std::signbit(value) ? 0x8000 : 0;
    float const size = std::fabs(value);
    if (std::isnan(value)) {
        return {0x7fff};
    }
    if (size >= 65520.0f) {  // half way to what would be the next number
        return {static_cast<std::uint16_t>(sign | 0x7c00)};
    }
    int exponent = -30;  // of zero
    if (size > 0.0f) {
        std::frexp(size, &exponent);
    }
    int const unit = exponent - 11 > -24 ? exponent - 11 : -24;  // of the last digit
    // exact, and rounded as the processor rounds: to the nearest even
    auto const digits = static_cast<std::uint16_t>(std::nearbyint(std::ldexp(size, -unit)));
    // 1024 units more are one exponent more, also for a number that was rounded up to the next exponent
    return {static_cast<std::uint16_t>(sign | ((unit + 24) * 1024 + digits))};
}
