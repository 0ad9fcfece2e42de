#include "base/units.h"

#include <charconv>
#include <cmath>

namespace menura {

namespace {

constexpr std::string_view kSuffixes = "bkmgtpe";

char lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; }

// Splits the unit off the end of text; the factor, or 0 for an unknown unit.
u64 take_unit(std::string_view& text, u64 default_unit) {
  size_t end = text.size();
  while (end > 0 && ((text[end - 1] >= 'a' && text[end - 1] <= 'z') ||
                     (text[end - 1] >= 'A' && text[end - 1] <= 'Z')))
    end--;
  std::string_view unit = text.substr(end);
  if (unit.empty()) return default_unit;
  const size_t power = kSuffixes.find(lower(unit[0]));
  if (power == std::string_view::npos) return 0;
  const std::string_view rest = unit.substr(1);
  const bool rest_known = rest.empty() || (power > 0 && (rest == "B" || rest == "iB"));
  if (!rest_known) return 0;
  text = text.substr(0, end);
  return u64{1} << (10 * power);
}

}  // namespace

Result<u64> parse_u64(std::string_view text) {
  int base = 10;
  std::string_view digits = text;
  if (digits.starts_with("0x") || digits.starts_with("0X")) {
    base = 16;
    digits.remove_prefix(2);
  } else if (digits.size() > 1 && digits[0] == '0') {
    base = 8;
    digits.remove_prefix(1);
  }
  u64 value = 0;
  const auto [end, status] =
      std::from_chars(digits.data(), digits.data() + digits.size(), value, base);
  if (status == std::errc::result_out_of_range)
    return fail(Errc::OutOfRange, "'{}' does not fit 64 bits", text);
  if (status != std::errc{} || end != digits.data() + digits.size())
    return fail(Errc::InvalidArgument, "'{}' is not a number", text);
  return value;
}

namespace {

Error no_size(std::string_view text) {
  return fail(Errc::InvalidArgument, "'{}' is not a size (try 512M or 2G)", text);
}

// digits, an integer in the base or a decimal fraction, times factor.
Result<u64> scale(std::string_view text, std::string_view digits, int base, u64 factor) {
  constexpr u64 kLimit = u64{1} << 63;
  const Error too_large = fail(Errc::OutOfRange, "Size '{}' is too large (limit 8E)", text);
  const char* const last = digits.data() + digits.size();
  if (digits.find('.') == std::string_view::npos) {
    u64 count = 0, size = 0;
    const auto [end, status] = std::from_chars(digits.data(), last, count, base);
    if (status == std::errc::invalid_argument || end != last) return no_size(text);
    if (status != std::errc{} || __builtin_mul_overflow(count, factor, &size) || size >= kLimit)
      return too_large;
    return size;
  }
  double count = 0;
  const auto [end, status] = std::from_chars(digits.data(), last, count, std::chars_format::fixed);
  if (status == std::errc::invalid_argument || end != last || digits[0] == '-')
    return no_size(text);
  const double size = count * static_cast<double>(factor);
  if (status != std::errc{} || size >= static_cast<double>(kLimit)) return too_large;
  return static_cast<u64>(size);
}

}  // namespace

Result<u64> parse_size(std::string_view text, u64 default_unit) {
  // In hexadecimal "b" and "e" are digits, so a hexadecimal size takes no unit and no fraction.
  if (text.starts_with("0x") || text.starts_with("0X")) {
    if (text.find('.') != std::string_view::npos) return no_size(text);
    return scale(text, text.substr(2), 16, default_unit);
  }
  std::string_view digits = text;
  const u64 factor = take_unit(digits, default_unit);
  if (factor == 0 || digits.empty()) return no_size(text);
  return scale(text, digits, 10, factor);
}

std::string format_size(u64 size) {
  constexpr const char* kUnits[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
  double value = static_cast<double>(size);
  unsigned unit = 0;
  while (value >= 1000 && unit < 6) {
    value /= 1024;
    unit++;
  }
  if (value < 9.995 && value != std::floor(value)) return format("{:.2f} {}", value, kUnits[unit]);
  if (value < 99.95 && value != std::floor(value)) return format("{:.1f} {}", value, kUnits[unit]);
  return format("{:.0f} {}", value, kUnits[unit]);
}

}  // namespace menura
