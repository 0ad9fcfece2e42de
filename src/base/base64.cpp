#include "base/base64.h"

#include <algorithm>

namespace menura {

namespace {

constexpr std::string_view kDigits =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

}  // namespace

std::string base64_encode(ConstBytes bytes) {
  std::string text;
  text.reserve((bytes.size() + 2) / 3 * 4);
  for (size_t at = 0; at < bytes.size(); at += 3) {
    const size_t count = std::min<size_t>(3, bytes.size() - at);
    u32 group = 0;
    for (size_t i = 0; i < 3; i++)
      group = group << 8 | (i < count ? static_cast<u32>(bytes[at + i]) : 0);
    for (size_t i = 0; i < 4; i++) text += i <= count ? kDigits[(group >> (18 - 6 * i)) & 63] : '=';
  }
  return text;
}

Result<std::vector<std::byte>> base64_decode(std::string_view text) {
  const Error malformed = fail(Errc::InvalidArgument, "Decoding base64: the text is malformed");
  if (text.size() % 4 != 0) return malformed;
  const size_t padding = text.ends_with("==") ? 2 : text.ends_with('=') ? 1 : 0;
  std::vector<std::byte> bytes;
  bytes.reserve(text.size() / 4 * 3);
  for (size_t at = 0; at < text.size(); at += 4) {
    const size_t pad = at + 4 == text.size() ? padding : 0;
    u32 group = 0;
    for (size_t i = 0; i < 4; i++) {
      const size_t digit = i < 4 - pad ? kDigits.find(text[at + i]) : 0;
      if (digit == std::string_view::npos) return malformed;
      group = group << 6 | static_cast<u32>(digit);
    }
    if ((group & ((1u << (8 * pad)) - 1)) != 0) return malformed;
    for (size_t i = 0; i < 3 - pad; i++)
      bytes.push_back(static_cast<std::byte>(group >> (16 - 8 * i)));
  }
  return bytes;
}

}  // namespace menura
