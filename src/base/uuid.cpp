#include "base/uuid.h"

#include "base/format.h"
#include "base/units.h"

namespace menura {

Result<Uuid> parse_uuid(std::string_view text) {
  const Error malformed =
      fail(Errc::InvalidArgument,
           "expected 32 hexadecimal digits in groups of 8-4-4-4-12, not '{}'", text);
  std::string digits;
  for (size_t i = 0; i < text.size(); i++) {
    const bool dash = i == 8 || i == 13 || i == 18 || i == 23;
    if (dash != (text[i] == '-')) return malformed;
    if (!dash) digits += text[i];
  }
  Uuid uuid{};
  if (digits.size() != 2 * uuid.size()) return malformed;
  for (size_t i = 0; i < uuid.size(); i++) {
    const Result<u64> byte = parse_u64("0x" + digits.substr(2 * i, 2));
    if (!byte) return malformed;
    uuid[i] = static_cast<u8>(*byte);
  }
  return uuid;
}

std::string format_uuid(const Uuid& uuid) {
  std::string text;
  for (size_t i = 0; i < uuid.size(); i++) {
    if (i == 4 || i == 6 || i == 8 || i == 10) text += '-';
    text += format("{:02x}", uuid[i]);
  }
  return text;
}

Uuid little_endian(const Uuid& uuid) {
  constexpr size_t kOrder[16] = {3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15};
  Uuid turned{};
  for (size_t i = 0; i < turned.size(); i++) turned[i] = uuid[kOrder[i]];
  return turned;
}

}  // namespace menura
