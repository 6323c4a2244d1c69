// SHA-256 (FIPS 180-4) of bytes, in hexadecimal. C++17, no library.
#pragma once

#include <array>
#include <cstdint>
#include <string>

namespace bundle {

inline std::string sha256(std::string text) {
  static constexpr std::array<std::uint32_t, 64> kRounds = {
      0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
      0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
      0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
      0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
      0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
      0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
      0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
      0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2};
  std::array<std::uint32_t, 8> state = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                                        0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
  const auto turn = [](std::uint32_t word, int by) { return word >> by | word << (32 - by); };
  const std::uint64_t bits = static_cast<std::uint64_t>(text.size()) * 8;
  text += static_cast<char>(0x80);
  text.append((120 - text.size() % 64) % 64, '\0');
  for (int byte = 7; byte >= 0; --byte) text += static_cast<char>(bits >> 8 * byte & 0xFF);
  for (std::size_t block = 0; block < text.size(); block += 64) {
    std::array<std::uint32_t, 64> words{};
    for (std::size_t at = 0; at < 64; ++at) words[at / 4] = words[at / 4] << 8 | static_cast<unsigned char>(text[block + at]);
    for (std::size_t at = 16; at < 64; ++at) {
      const std::uint32_t early = words[at - 15], late = words[at - 2];
      words[at] = words[at - 16] + (turn(early, 7) ^ turn(early, 18) ^ early >> 3) + words[at - 7] +
                  (turn(late, 17) ^ turn(late, 19) ^ late >> 10);
    }
    auto [a, b, c, d, e, f, g, h] = state;
    for (std::size_t at = 0; at < 64; ++at) {
      const std::uint32_t first =
          h + (turn(e, 6) ^ turn(e, 11) ^ turn(e, 25)) + ((e & f) ^ (~e & g)) + kRounds[at] + words[at];
      const std::uint32_t second = (turn(a, 2) ^ turn(a, 13) ^ turn(a, 22)) + ((a & b) ^ (a & c) ^ (b & c));
      h = g, g = f, f = e, e = d + first, d = c, c = b, b = a, a = first + second;
    }
    const std::array<std::uint32_t, 8> added = {a, b, c, d, e, f, g, h};
    for (std::size_t at = 0; at < 8; ++at) state[at] += added[at];
  }
  std::string found;
  for (const std::uint32_t word : state) {
    for (int part = 28; part >= 0; part -= 4) found += "0123456789abcdef"[word >> part & 15];
  }
  return found;
}

}  // namespace bundle
