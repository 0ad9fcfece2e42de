#include "block/vmdk/descriptor.h"

#include <charconv>
#include <optional>

#include "base/text.h"

namespace menura::vmdk {

namespace {

constexpr size_t kMostExtents = 4096;

template <class T>
std::optional<T> number(std::string_view text, int base) {
  T value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value, base);
  if (error != std::errc() || end != text.data() + text.size()) return {};
  return value;
}

// The next word, or what stands in quotes; `text` goes on behind it.
std::string_view next_word(std::string_view& text) {
  while (!text.empty() && (text[0] == ' ' || text[0] == '\t')) text.remove_prefix(1);
  const bool quoted = !text.empty() && text[0] == '"';
  if (quoted) text.remove_prefix(1);
  const size_t end = std::min(quoted ? text.find('"') : text.find_first_of(" \t"), text.size());
  const std::string_view word = text.substr(0, end);
  text.remove_prefix(std::min(text.size(), end + (quoted ? 1 : 0)));
  return word;
}

Result<Descriptor::Extent> parse_extent(std::string_view line) {
  std::string_view rest = line;
  Descriptor::Extent extent;
  extent.access = next_word(rest);
  const std::optional<u64> sectors = number<u64>(next_word(rest), 10);
  extent.type = next_word(rest);
  extent.file = next_word(rest);
  const std::string_view offset = next_word(rest);
  const std::optional<u64> at = offset.empty() ? 0 : number<u64>(offset, 10);
  if (!sectors || *sectors == 0 || *sectors > u64{1} << 53 || !at || *at > u64{1} << 53)
    return fail(Errc::Corrupt, "The descriptor's extent '{}' has no sensible size", line);
  extent.sectors = *sectors, extent.offset = *at;
  if (extent.type != "ZERO" && extent.file.empty())
    return fail(Errc::Corrupt, "The descriptor's extent '{}' names no file", line);
  return extent;
}

bool is_extent(std::string_view line) {
  return line.starts_with("RW ") || line.starts_with("RDONLY ") || line.starts_with("NOACCESS ");
}

// The lines, with ends of every kind of system.
template <class Function>
void each_line(std::string_view text, Function function) {
  while (!text.empty()) {
    const size_t end = std::min(text.find('\n'), text.size());
    std::string_view line = text.substr(0, end);
    text.remove_prefix(std::min(text.size(), end + 1));
    if (line.ends_with('\r')) line.remove_suffix(1);
    function(line);
  }
}

}  // namespace

Result<Descriptor> Descriptor::parse(std::string_view text) {
  text = text.substr(0, text.find('\0'));
  Descriptor d;
  bool has_cid = false;
  std::optional<Error> wrong;
  each_line(text, [&](std::string_view line) {
    line = trim(line);
    if (line.empty() || line[0] == '#' || wrong) return;
    if (is_extent(line)) {
      Result<Extent> extent = parse_extent(line);
      if (!extent)
        wrong = std::move(extent.error());
      else if (d.extents.size() == kMostExtents)
        wrong = fail(Errc::Corrupt, "The descriptor names more than {} extents", kMostExtents);
      else
        d.extents.push_back(std::move(extent).value());
      return;
    }
    const size_t equals = line.find('=');
    if (equals == std::string_view::npos) return;
    const std::string_view key = trim(line.substr(0, equals));
    std::string_view rest = line.substr(equals + 1);
    const std::string_view value = next_word(rest);
    if (key == "CID") {
      d.cid = number<u32>(value, 16).value_or(0);
      has_cid = true;
    } else if (key == "parentCID") {
      d.parent_cid = number<u32>(value, 16).value_or(kNoParent);
    } else if (key == "createType") {
      d.create_type = value;
    } else if (key == "parentFileNameHint") {
      d.parent_file = value;
    }
  });
  if (wrong) return std::move(*wrong);
  if (!has_cid || d.create_type.empty())
    return fail(Errc::Corrupt, "The descriptor has no CID or no createType");
  if (d.extents.empty()) return fail(Errc::Corrupt, "The descriptor names no extents");
  return d;
}

std::string with_cid(std::string_view text, u32 cid) {
  std::string out;
  each_line(text.substr(0, text.find('\0')), [&](std::string_view line) {
    out += line.starts_with("CID=") ? format("CID={:08x}", cid) : std::string(line);
    out += '\n';
  });
  return out;
}

}  // namespace menura::vmdk
