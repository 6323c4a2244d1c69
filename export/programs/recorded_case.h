// The first recorded case of a bundle, read from its manifest and its safetensors file. C++17, no library.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <sstream>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "sha256.h"

namespace bundle {

// A value of a JSON document. Numbers and words are kept as text.
struct Json {
  char kind = 0;  // the sign with which it begins: { [ " and 0 for a number or a word
  std::string text;
  std::vector<std::pair<std::string, Json>> members;
  std::vector<Json> items;

  // The entry, or null if it is not there.
  const Json* find(const std::string& name) const {
    for (const auto& member : members) {
      if (member.first == name) return &member.second;
    }
    return nullptr;
  }

  const Json& at(const std::string& name) const {
    if (const Json* const found = find(name)) return *found;
    throw std::runtime_error("there is no entry '" + name + "'");
  }

  double number() const {
    try {
      return std::stod(text);
    } catch (const std::logic_error&) {
      throw std::runtime_error("'" + text + "' is no number");
    }
  }

  // True if the entry is there and says so: what is false may be left out.
  bool says(const std::string& name) const {
    const Json* const found = find(name);
    return found != nullptr && found->text == "true";
  }
};

class JsonReader {
 public:
  explicit JsonReader(const std::string& text) : text_(text) {}

  Json read() { return value(0); }

 private:
  Json value(int depth) {
    if (depth > 64) throw std::runtime_error("JSON is nested too deeply");
    const char first = next();
    Json found;
    if (std::strchr("{[\"", first) != nullptr) found.kind = first;
    if (first == '{') {
      for (char end = peek() == '}' ? next() : ','; end == ',';) {
        std::string name = string(next());
        if (next() != ':') fail();
        found.members.emplace_back(std::move(name), value(depth + 1));
        end = next();
        if (end != ',' && end != '}') fail();
      }
    } else if (first == '[') {
      for (char end = peek() == ']' ? next() : ','; end == ',';) {
        found.items.push_back(value(depth + 1));
        end = next();
        if (end != ',' && end != ']') fail();
      }
    } else if (first == '"') {
      found.text = string(first);
    } else {
      found.text = first;
      while (at_ < text_.size() && std::strchr(",]} \t\r\n", text_[at_]) == nullptr) found.text += text_[at_++];
    }
    return found;
  }

  std::string string(char first) {
    if (first != '"') fail();
    std::string found;
    while (true) {
      char letter = take();
      if (letter == '"') return found;
      if (letter == '\\') {
        letter = take();
        if (letter == 'u') {
          append(found, code());
          continue;
        }
        const char* const known = "\"\\/bfnrt";
        const char* const place = std::strchr(known, letter);
        if (place == nullptr) fail();
        letter = "\"\\/\b\f\n\r\t"[place - known];
      }
      found += letter;
    }
  }

  unsigned code() {
    unsigned found = 0;
    for (int digit = 0; digit < 4; ++digit) found = found * 16 + static_cast<unsigned>(hex(take()));
    return found;
  }

  static int hex(char letter) {
    const char* const digits = "0123456789abcdef";
    const char* const place = std::strchr(digits, std::tolower(static_cast<unsigned char>(letter)));
    if (letter == '\0' || place == nullptr) throw std::runtime_error("this is no JSON");
    return static_cast<int>(place - digits);
  }

  void append(std::string& found, unsigned letter) {
    if (letter >= 0xD800 && letter < 0xDC00) {  // the first half of a pair
      if (take() != '\\' || take() != 'u') fail();
      letter = 0x10000 + ((letter - 0xD800) << 10) + (code() - 0xDC00);
    }
    if (letter < 0x80) {
      found += static_cast<char>(letter);
      return;
    }
    const int more = letter < 0x800 ? 1 : letter < 0x10000 ? 2 : 3;
    found += static_cast<char>((0xF0 << (3 - more) & 0xFF) | letter >> 6 * more);
    for (int part = more - 1; part >= 0; --part) found += static_cast<char>(0x80 | (letter >> 6 * part & 0x3F));
  }

  char take() {
    if (at_ >= text_.size()) fail();
    return text_[at_++];
  }

  char next() {
    while (at_ < text_.size() && std::strchr(" \t\r\n", text_[at_]) != nullptr) ++at_;
    return take();
  }

  char peek() {
    const char found = next();
    --at_;
    return found;
  }

  [[noreturn]] static void fail() { throw std::runtime_error("this is no JSON"); }

  const std::string& text_;
  std::size_t at_ = 0;
};

inline std::string read_file(const std::filesystem::path& path) {
  std::ifstream stream(path, std::ios::binary);
  if (!stream) throw std::runtime_error("cannot read " + path.string());
  std::ostringstream found;
  found << stream.rdbuf();
  return found.str();
}

// The content of a file of the bundle. Throws if it is not the one that the manifest lists.
inline std::string read_listed(const std::filesystem::path& folder, const Json& manifest, const std::string& name) {
  const std::string expected = manifest.at("files").at(name).at("sha256").text;
  std::string content = read_file(folder / name);
  const std::string found = sha256(content);
  if (found != expected) throw std::runtime_error(name + " has sha256 " + found + "; the manifest has " + expected);
  return content;
}

// A string of JSON in ASCII, as Python writes it.
inline std::string quoted(const std::string& text) {
  std::string found = "\"";
  const auto escape = [&found](unsigned code) {
    found += "\\u";
    for (int part = 12; part >= 0; part -= 4) found += "0123456789abcdef"[code >> part & 15];
  };
  for (std::size_t at = 0; at < text.size(); ++at) {
    const auto letter = static_cast<unsigned char>(text[at]);
    const char* const known = "\"\\\b\f\n\r\t";
    const char* const place = letter == 0 ? nullptr : std::strchr(known, letter);
    if (place != nullptr) {
      found += '\\';
      found += "\"\\bfnrt"[place - known];
    } else if (letter >= 0x20 && letter < 0x7F) {
      found += static_cast<char>(letter);
    } else if (letter < 0x80) {
      escape(letter);
    } else {  // UTF-8 of two to four bytes
      int more = letter < 0xE0 ? 1 : letter < 0xF0 ? 2 : 3;
      unsigned code = letter & (0x3Fu >> more);
      for (; more > 0 && at + 1 < text.size(); --more) code = code << 6 | (static_cast<unsigned char>(text[++at]) & 0x3Fu);
      if (code >= 0x10000) escape(0xD7C0 + (code >> 10));
      escape(code >= 0x10000 ? 0xDC00 + (code & 0x3FF) : code);
    }
  }
  return found + '"';
}

// The text that the hash of a manifest is taken of: sorted keys, no spaces, ASCII, without the hash itself.
inline std::string hashed_text(const Json& value, bool is_outermost = true) {
  if (value.kind == '"') return quoted(value.text);
  if (value.kind == 0) return value.text;
  std::string found;
  if (value.kind == '[') {
    for (const Json& item : value.items) found += (found.empty() ? "" : ",") + hashed_text(item, false);
    return "[" + found + "]";
  }
  std::vector<std::size_t> order;
  for (std::size_t at = 0; at < value.members.size(); ++at) {
    if (!is_outermost || value.members[at].first != "sha256") order.push_back(at);
  }
  std::sort(order.begin(), order.end(), [&value](std::size_t one, std::size_t other) {
    return value.members[one].first < value.members[other].first;
  });
  for (const std::size_t at : order) {
    const auto& [name, member] = value.members[at];
    found += (found.empty() ? "" : ",") + quoted(name) + ":" + hashed_text(member, false);
  }
  return "{" + found + "}";
}

// The manifest. Throws if it was changed since it was written; one of a version that did not hash it is taken.
inline Json read_manifest(const std::filesystem::path& folder) {
  const std::string text = read_file(folder / "bundle.json");
  Json found = JsonReader(text).read();
  const Json* const hash = found.find("sha256");
  if (hash != nullptr && sha256(hashed_text(found)) != hash->text)
    throw std::runtime_error("bundle.json was changed since it was written: nothing is loaded; restore it");
  return found;
}

inline std::size_t bytes_of(const std::string& dtype) {
  if (dtype == "F64" || dtype == "I64") return 8;
  if (dtype == "F32" || dtype == "I32") return 4;
  return dtype == "F16" ? 2 : 1;
}

struct Tensor {
  std::string name;
  std::string dtype;  // as safetensors writes it: F32, F16, I64 ...
  std::vector<std::int64_t> shape;
  std::string data;

  std::size_t count() const {
    std::size_t found = 1;
    for (const std::int64_t size : shape) found *= static_cast<std::size_t>(size);
    return found;
  }

  // The size of the data by type and shape; throws for a shape that no data can have.
  std::size_t bytes() const {
    std::size_t found = bytes_of(dtype);
    for (const std::int64_t size : shape) {
      if (size < 0 || (size != 0 && found > SIZE_MAX / static_cast<std::size_t>(size)))
        throw std::runtime_error(name + " has a shape that is none");
      found *= static_cast<std::size_t>(size);
    }
    return found;
  }
};

// The tensors of a safetensors file's content: eight bytes with the length of the header, the header in JSON, the data.
class Tensors {
 public:
  explicit Tensors(std::string content) : content_(std::move(content)) {
    std::uint64_t length = 0;
    if (content_.size() < 8) throw std::runtime_error("the recorded cases are no safetensors file");
    for (int byte = 7; byte >= 0; --byte) length = length << 8 | static_cast<unsigned char>(content_[byte]);
    if (length > content_.size() - 8) throw std::runtime_error("the recorded cases are no safetensors file");
    start_ = 8 + static_cast<std::size_t>(length);
    const std::string text = content_.substr(8, start_ - 8);
    header_ = JsonReader(text).read();
  }

  Tensor at(const std::string& key, const std::string& name) const {
    const Json& entry = header_.at(key + name);
    Tensor found{name, entry.at("dtype").text, {}, {}};
    for (const Json& size : entry.at("shape").items) found.shape.push_back(std::stoll(size.text));
    const auto& offsets = entry.at("data_offsets").items;
    const std::size_t first = std::stoull(offsets.at(0).text), last = std::stoull(offsets.at(1).text);
    if (first > last || last > content_.size() - start_) throw std::runtime_error("a tensor lies outside of its file");
    found.data = content_.substr(start_ + first, last - first);
    if (found.bytes() != found.data.size())
      throw std::runtime_error(name + " has " + std::to_string(found.data.size()) + " bytes, not those of its shape");
    return found;
  }

 private:
  std::string content_;
  std::size_t start_ = 0;
  Json header_;
};

// The inputs of the first recorded case, and what the truth gives of them in float64: PyTorch, or the file's own graph.
struct Case {
  std::vector<Tensor> inputs, expected;
  std::string truth;
  std::vector<Json> outputs;

  // The largest difference of an output that the verdict passes in this precision; NaN if it does not go by that.
  double most(std::size_t output, const std::string& precision) const {
    const Json* entry = &outputs.at(output);
    if (precision != "fp32") {
      const Json* const lower = entry->find("lower");
      entry = lower == nullptr ? nullptr : lower->find(precision);
    }
    const Json* const found = entry == nullptr ? nullptr : entry->find("most");
    return found == nullptr ? std::nan("") : found->number();
  }
};

inline Case read_case(const std::filesystem::path& folder, const Json& manifest) {
  const auto& cases = manifest.at("cases").items;
  if (cases.empty()) throw std::runtime_error("the bundle has no recorded case");
  const std::string key = cases.front().at("key").text;
  const Tensors tensors(read_listed(folder, manifest, "reference.safetensors"));
  const Json* const source = manifest.at("verdict").find("source");
  Case found;
  found.truth = source != nullptr && source->text == "the graph" ? "the graph in float64" : "PyTorch";
  for (const Json& name : cases.front().at("inputs").items)
    found.inputs.push_back(tensors.at(key + "/input/", name.text));
  found.outputs = cases.front().at("outputs").items;
  if (found.outputs.empty()) throw std::runtime_error("the recorded case has no output");
  for (const Json& output : found.outputs)
    found.expected.push_back(tensors.at(key + "/float64/", output.at("name").text));
  return found;
}

inline float from_half(std::uint16_t bits) {
  const int exponent = bits >> 10 & 31, fraction = bits & 1023;
  const double value = exponent == 0    ? std::ldexp(fraction, -24)
                       : exponent == 31 ? (fraction == 0 ? HUGE_VAL : std::nan(""))
                                        : std::ldexp(fraction + 1024, exponent - 25);
  return static_cast<float>(bits & 0x8000 ? -value : value);
}

// The bits of the float16 that is this number.
inline std::uint16_t to_half(float value) {
  const auto sign = static_cast<std::uint16_t>(std::signbit(value) ? 0x8000 : 0);
  if (std::isnan(value)) return sign | 0x7E00;
  if (std::isinf(value)) return sign | 0x7C00;
  if (value == 0) return sign;
  int exponent = 0;
  const double size = std::fabs(static_cast<double>(value));
  std::frexp(size, &exponent);                                // size < 2^exponent
  const int last = std::max(exponent - 11, -24);              // what the last bit counts, as a power of two
  const auto digits = static_cast<int>(std::ldexp(size, -last));  // 11 bits, fewer below 2^-14
  const auto found = static_cast<std::uint16_t>(sign | (std::min((last + 24) * 1024 + digits, 0x7C00)));
  if (from_half(found) != value) throw std::runtime_error("an input holds a number that float16 does not have");
  return found;
}

template <typename T>
T element(const char* data, std::size_t at) {
  T found;
  std::memcpy(&found, data + at * sizeof(T), sizeof(T));
  return found;
}

inline double number(const char* data, const std::string& dtype, std::size_t at) {
  if (dtype == "F32") return element<float>(data, at);
  if (dtype == "F64") return element<double>(data, at);
  if (dtype == "F16") return from_half(element<std::uint16_t>(data, at));
  if (dtype == "I64") return static_cast<double>(element<std::int64_t>(data, at));
  if (dtype == "I32") return element<std::int32_t>(data, at);
  if (dtype == "I8") return element<std::int8_t>(data, at);
  if (dtype == "U8" || dtype == "BOOL") return element<std::uint8_t>(data, at);
  throw std::runtime_error("this program has no type " + dtype);
}

// The same numbers in the type that a graph or a plan takes: float16 at its border, or INT32, since TensorRT before 10 has
// no INT64. A number that the type does not have ends the program.
inline Tensor as_typed(const Tensor& tensor, const std::string& dtype) {
  if (tensor.dtype == dtype) return tensor;
  const bool halves = tensor.dtype == "F32" && dtype == "F16", narrows = tensor.dtype == "I64" && dtype == "I32";
  if (!halves && !narrows)
    throw std::runtime_error(tensor.name + " was recorded as " + tensor.dtype + ", and what runs takes " + dtype);
  Tensor found{tensor.name, dtype, tensor.shape, {}};
  for (std::size_t at = 0; at < tensor.count(); ++at) {
    if (halves) {
      const std::uint16_t half = to_half(element<float>(tensor.data.data(), at));
      found.data.append(reinterpret_cast<const char*>(&half), sizeof half);
      continue;
    }
    const auto wide = element<std::int64_t>(tensor.data.data(), at);
    const auto narrow = static_cast<std::int32_t>(wide);
    if (narrow != wide) throw std::runtime_error(tensor.name + " holds a number that INT32 cannot hold");
    found.data.append(reinterpret_cast<const char*>(&narrow), sizeof narrow);
  }
  return found;
}

// Print how far an output is from the truth. Returns false for another shape, for a number that is none, and for a
// difference above ``most``, if that is a number.
inline bool print_difference(const Tensor& found, const Tensor& expected, const std::string& truth, double most) {
  std::cout << found.name << " [";
  for (std::size_t axis = 0; axis < found.shape.size(); ++axis) std::cout << (axis ? ", " : "") << found.shape[axis];
  std::cout << "] ";
  if (found.shape != expected.shape) {
    std::cout << "has another shape than from " << truth << "\n";
    return false;
  }
  double largest = 0;
  for (std::size_t at = 0; at < expected.count(); ++at) {
    const double one = number(found.data.data(), found.dtype, at), other = number(expected.data.data(), expected.dtype, at);
    const double difference = one == other || (std::isnan(one) && std::isnan(other)) ? 0 : std::fabs(one - other);
    if (!(difference <= largest)) largest = difference;
    if (std::isnan(difference)) break;
  }
  std::cout << "largest difference from " << truth << ": " << largest << " (";
  if (std::isnan(most)) std::cout << "not judged here: attn2trt validate is the verdict)\n";
  else std::cout << "limit " << most << ")\n";
  return std::isfinite(largest) && !(largest > most);
}

}  // namespace bundle
