#include "app/io/numbers.h"

#include <algorithm>
#include <cmath>

#include "base/format.h"

namespace menura::io {

std::string size_text(double bytes) {
  constexpr std::string_view kUnits[] = {"bytes", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
  size_t unit = 0;
  while (unit + 1 < std::size(kUnits) && bytes >= 1024) bytes /= 1024, unit++;
  std::string number = unit == 0 ? format("{:.6f}", bytes) : format("{:.3f}", bytes);
  const size_t point = number.find('.');
  if (std::all_of(number.begin() + static_cast<i64>(point) + 1, number.end(),
                  [](char c) { return c == '0'; }))
    number.resize(point);
  return format("{} {}", number, kUnits[unit]);
}

std::string report_text(u64 bytes, u64 operations, std::chrono::duration<double> took,
                        ReportForm form) {
  const double seconds = std::max(took.count(), 1e-9);
  const double byte_rate = static_cast<double>(bytes) / seconds;
  const double operation_rate = static_cast<double>(operations) / seconds;
  const auto hundredths = static_cast<u64>(std::floor(seconds * 100));
  const u64 hours = hundredths / 360000, minutes = hundredths / 6000 % 60,
            whole = hundredths / 100 % 60, part = hundredths % 100;
  if (form == ReportForm::Machine)
    return format("{},{},{}:{:02}:{:02}.{:02},{:.3f},{:.3f}\n", bytes, operations, hours, minutes,
                  whole, part, byte_rate, operation_rate);
  const std::string time = hours || minutes
                               ? format("{}:{:02}:{:02}.{:02}", hours, minutes, whole, part)
                               : format("{:02}.{:02} sec", whole, part);
  return format("{}, {} ops; {} ({}/sec and {:.4f} ops/sec)\n",
                size_text(static_cast<double>(bytes)), operations, time, size_text(byte_rate),
                operation_rate);
}

std::string dump_text(ConstBytes bytes, u64 offset) {
  std::string out;
  for (size_t line = 0; line < bytes.size(); line += 16) {
    const ConstBytes part = bytes.subspan(line, std::min<size_t>(16, bytes.size() - line));
    out += format("{:08x}:  ", offset + line);
    for (const std::byte b : part) out += format("{:02x} ", static_cast<unsigned>(b));
    out += ' ';
    for (const std::byte b : part) {
      const char c = static_cast<char>(b);
      out += c >= ' ' && c <= '~' ? c : '.';
    }
    out += '\n';
  }
  return out;
}

}  // namespace menura::io
