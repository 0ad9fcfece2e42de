#include "machine/loader/multiboot.h"

#include <algorithm>

namespace menura {

namespace {

enum : size_t {
  kFlags = 4,
  kHeaderAddress = 12,
  kLoadAddress = 16,
  kLoadEnd = 20,
  kBssEnd = 24,
  kEntry = 28,
  kShortHeader = 12,
  kLongHeader = 32,
};

// The image by the header's own addresses: one segment.
Result<ElfImage> parse_addresses(ConstBytes file, size_t header, const std::string& name) {
  if (file.size() - header < kLongHeader)
    return fail(Errc::Corrupt, "Multiboot kernel '{}' ends in its header", name);
  const ConstBytes h = file.subspan(header);
  const u64 load = load_le<u32>(h, kLoadAddress), own = load_le<u32>(h, kHeaderAddress);
  if (own < load || own - load > header)
    return fail(Errc::Corrupt, "Multiboot kernel '{}': its header is not part of what is loaded",
                name);
  const size_t start = header - static_cast<size_t>(own - load);
  // Zero: all of the file; no .bss.
  const u64 load_end =
      load_le<u32>(h, kLoadEnd) ? load_le<u32>(h, kLoadEnd) : load + (file.size() - start);
  const u64 end = std::max<u64>(load_le<u32>(h, kBssEnd), load_end);
  if (load_end < load || load_end - load > file.size() - start)
    return fail(Errc::Corrupt, "Multiboot kernel '{}' loads more than the file holds", name);
  ElfImage image{.entry = load_le<u32>(h, kEntry)};
  image.segments.push_back({.address = load,
                            .size = end - load,
                            .bytes = file.subspan(start, static_cast<size_t>(load_end - load))});
  return image;
}

}  // namespace

std::optional<size_t> find_multiboot_header(ConstBytes file) {
  constexpr u32 kMagic = 0x1bad'b002;
  constexpr size_t kSearched = 8192;
  const size_t end = std::min(file.size(), kSearched);
  for (size_t at = 0; at + kShortHeader <= end; at += 4) {
    if (load_le<u32>(file, at) != kMagic) continue;
    const u32 sum = kMagic + load_le<u32>(file, at + kFlags) + load_le<u32>(file, at + 8);
    if (sum == 0) return at;
  }
  return {};
}

Result<ElfImage> parse_multiboot(ConstBytes file, size_t header, const std::string& name) {
  // Modules always lie on pages and memory is always told. Of the other requirements a loader must
  // refuse those it does not know; a video mode is a wish (3.1.4), and there may be none to set.
  constexpr u32 kKnownRequirements = 0x7, kRequirements = 0xffff, kHasAddresses = 1u << 16;
  const u32 flags = load_le<u32>(file, header + kFlags);
  if (flags & kRequirements & ~kKnownRequirements)
    return fail(Errc::Unsupported,
                "Multiboot kernel '{}' requires features {:#x}, which are unknown", name,
                flags & kRequirements & ~kKnownRequirements);
  if (flags & kHasAddresses) return parse_addresses(file, header, name);
  return parse_elf(file, name);
}

}  // namespace menura
