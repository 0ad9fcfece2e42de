#include "block/vhdx/vhdx_format.h"

#include <algorithm>
#include <bit>

#include "base/bytes.h"
#include "base/random.h"

namespace menura::vhdx {

namespace {

constexpr u64 kHeaderAt[] = {64 * KiB, 128 * KiB};
constexpr u64 kRegionTableAt[] = {192 * KiB, 256 * KiB};
constexpr size_t kHeaderBytes = 4096;
constexpr u64 kMetadataTableBytes = 64 * KiB;
constexpr u32 kMostEntries = 2047;
constexpr u64 kLargestLog = 64 * MiB;
constexpr u64 kSmallestBlock = 1 * MiB, kLargestBlock = 256 * MiB;

consteval u32 signature(const char (&text)[5]) {
  u32 value = 0;
  for (unsigned i = 0; i < 4; i++) value |= static_cast<u32>(static_cast<u8>(text[i])) << (8 * i);
  return value;
}
constexpr u32 kHeaderSignature = signature("head");
constexpr u32 kRegionSignature = signature("regi");
constexpr u64 kMetadataSignature = 0x617461646174656d;  // "metadata"

// As people write them; in files the first three groups are little-endian.
consteval Guid guid(const char (&text)[37]) {
  constexpr unsigned kOrder[] = {3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15};
  Guid out{};
  const auto digit = [](char c) {
    return static_cast<unsigned>(c <= '9' ? c - '0' : c - 'A' + 10);
  };
  unsigned at = 0;
  for (unsigned i = 0; i < 36; i += 2) {
    if (text[i] == '-') i++;
    out[kOrder[at++]] = static_cast<std::byte>(digit(text[i]) << 4 | digit(text[i + 1]));
  }
  return out;
}
constexpr Guid kBatRegion = guid("2DC27766-F623-4200-9D64-115E9BFD4A08");
constexpr Guid kMetadataRegion = guid("8B7CA206-4790-4B9A-B8FE-575F050F886E");
constexpr Guid kFileParameters = guid("CAA16737-FA36-4D43-B3B6-33F0AA44E76B");
constexpr Guid kDiskSize = guid("2FA54224-CD1B-4876-B211-5DBED83BF4B8");
constexpr Guid kDiskId = guid("BECA12AB-B2E6-4523-93EF-C309E000C746");
constexpr Guid kLogicalSector = guid("8141BF1D-A96F-4709-BA47-F233A8FAAB5F");
constexpr Guid kPhysicalSector = guid("CDA348C7-445D-4471-9CC9-E9885251C556");
constexpr Guid kParentLocator = guid("A8D35F2D-B30B-454D-ABF7-D3D84834AB0C");

constexpr u32 kLeaveAllocated = 1, kHasParent = 2;  // of the file parameters
constexpr u32 kOfDisk = 2, kRequired = 4;           // flags of metadata entries

Guid guid_at(ConstBytes bytes, size_t at) {
  Guid out;
  std::ranges::copy(bytes.subspan(at, out.size()), out.begin());
  return out;
}
void put_guid(Bytes bytes, size_t at, const Guid& guid) {
  std::ranges::copy(guid, bytes.begin() + static_cast<i64>(at));
}

consteval std::array<u32, 256> crc_table() {
  std::array<u32, 256> table{};
  for (u32 i = 0; i < 256; i++) {
    u32 value = i;
    for (int bit = 0; bit < 8; bit++) value = value >> 1 ^ (value & 1 ? 0x82f63b78 : 0);
    table[i] = value;
  }
  return table;
}
constexpr std::array<u32, 256> kCrcTable = crc_table();

u32 crc_of(u32 crc, ConstBytes bytes) {
  for (const std::byte b : bytes) crc = kCrcTable[(crc ^ static_cast<u8>(b)) & 0xff] ^ crc >> 8;
  return crc;
}

Result<void> check_place(u64 offset, u64 length, std::string_view what) {
  if (offset % MiB || offset < kHeaderSection || length % MiB || length == 0 || offset > kMost ||
      length > kMost)
    return fail(Errc::Corrupt, "The {} of {} bytes lies at {}", what, length, offset);
  return {};
}

}  // namespace

Guid new_guid() {
  Guid guid;
  fill_random(guid);
  return guid;
}

u32 crc32c(ConstBytes bytes) { return ~crc_of(~u32{0}, bytes); }

u32 checksum_without(ConstBytes bytes, size_t at) {
  u32 crc = crc_of(~u32{0}, bytes.first(at));
  crc = crc_of(crc, std::array<std::byte, 4>{});
  return ~crc_of(crc, bytes.subspan(at + 4));
}

void store_checksum(Bytes bytes, size_t at) {
  store_le<u32>(bytes, at, checksum_without(bytes, at));
}

Result<Header> Header::parse(ConstBytes b) {
  if (load_le<u32>(b) != kHeaderSignature || load_le<u32>(b, 4) != checksum_without(b, 4))
    return fail(Errc::Corrupt, "The header is damaged");
  Header h;
  h.sequence = load_le<u64>(b, 8);
  h.file_write = guid_at(b, 16), h.data_write = guid_at(b, 32), h.log = guid_at(b, 48);
  if (const u16 version = load_le<u16>(b, 66); version != 1)
    return fail(Errc::Unsupported, "Version {} of VHDX is not known, only 1", version);
  if (h.log != Guid{} && load_le<u16>(b, 64) != 0)
    return fail(Errc::Unsupported, "Version {} of VHDX's log is not known, only 0",
                load_le<u16>(b, 64));
  h.log_length = load_le<u32>(b, 68), h.log_offset = load_le<u64>(b, 72);
  TRY(check_place(h.log_offset, h.log_length, "log"));
  if (h.log_length > kLargestLog)
    return fail(Errc::OutOfRange, "A log of {} bytes is too large", h.log_length);
  return h;
}

std::vector<std::byte> Header::serialize() const {
  std::vector<std::byte> b(kHeaderBytes);
  store_le<u32>(b, 0, kHeaderSignature);
  store_le<u64>(b, 8, sequence);
  put_guid(b, 16, file_write), put_guid(b, 32, data_write), put_guid(b, 48, log);
  store_le<u16>(b, 66, 1);
  store_le<u32>(b, 68, static_cast<u32>(log_length));
  store_le<u64>(b, 72, log_offset);
  store_checksum(b, 4);
  return b;
}

Result<Headers> Headers::read(Node& file) {
  Result<Header> copies[2] = {fail(Errc::Corrupt, "unread"), fail(Errc::Corrupt, "unread")};
  for (unsigned i = 0; i < 2; i++) {
    std::vector<std::byte> bytes(kHeaderBytes);
    TRY(file.read_or_zero(kHeaderAt[i], bytes));
    copies[i] = Header::parse(bytes);
  }
  if (!copies[0] && !copies[1]) return std::move(copies[0].error());
  const bool second = !copies[0] || (copies[1] && copies[1]->sequence > copies[0]->sequence);
  return Headers{*copies[second ? 1 : 0], second ? 1u : 0u};
}

// One copy is whole at any time.
Result<void> Headers::write(Node& file) {
  for (unsigned i = 0; i < 2; i++) {
    now.sequence++;
    newer ^= 1;
    TRY(file.write(kHeaderAt[newer], now.serialize()), "Writing a header");
    TRY(file.flush());
  }
  return {};
}

namespace {

Result<void> read_regions(Node& file, DiskLayout& layout) {
  std::vector<std::byte> table(kRegionTableBytes);
  const auto is_valid = [&] {
    return load_le<u32>(table) == kRegionSignature &&
           load_le<u32>(table, 4) == checksum_without(table, 4);
  };
  TRY(file.read_or_zero(kRegionTableAt[0], table));
  if (!is_valid()) TRY(file.read_or_zero(kRegionTableAt[1], table));
  if (!is_valid()) return fail(Errc::Corrupt, "Both copies of the region table are damaged");
  const u32 count = load_le<u32>(table, 8);
  if (count > kMostEntries) return fail(Errc::Corrupt, "The region table has {} entries", count);
  for (u32 i = 0; i < count; i++) {
    const ConstBytes entry = ConstBytes(table).subspan(16 + i * 32, 32);
    const Guid kind = guid_at(entry, 0);
    const u64 offset = load_le<u64>(entry, 16);
    const u64 length = load_le<u32>(entry, 24);
    TRY(check_place(offset, length, "region"));
    layout.end = std::max(layout.end, offset + length);
    if (kind == kBatRegion)
      layout.bat = offset, layout.bat_length = length;
    else if (kind == kMetadataRegion)
      layout.metadata = offset, layout.metadata_length = length;
    else if (load_le<u32>(entry, 28) & 1)
      return fail(Errc::Unsupported, "The image has a region that must be understood, and is not");
  }
  if (layout.bat == 0 || layout.metadata == 0)
    return fail(Errc::Corrupt, "The image has no BAT or no metadata");
  return {};
}

Result<void> read_item(Node& file, DiskLayout& layout, ConstBytes entry) {
  const Guid kind = guid_at(entry, 0);
  const u64 offset = load_le<u32>(entry, 16);
  std::array<std::byte, 8> value{};
  if (offset + value.size() > layout.metadata_length)
    return fail(Errc::Corrupt, "A metadata item lies at {}", offset);
  TRY(file.read_or_zero(layout.metadata + offset, value));
  if (kind == kFileParameters) {
    layout.block = load_le<u32>(value);
    if (load_le<u32>(value, 4) & kHasParent)
      return fail(Errc::Unsupported, "Differencing VHDX images cannot be opened here");
  } else if (kind == kDiskSize) {
    layout.disk_size = load_le<u64>(value);
  } else if (kind == kLogicalSector) {
    layout.logical_sector = load_le<u32>(value);
  } else if (kind == kPhysicalSector) {
    layout.physical_sector = load_le<u32>(value);
  } else if (kind != kDiskId && kind != kParentLocator && load_le<u32>(entry, 24) & kRequired) {
    return fail(Errc::Unsupported, "The image has metadata that must be understood, and are not");
  }
  return {};
}

}  // namespace

Result<DiskLayout> DiskLayout::read(Node& file) {
  DiskLayout layout;
  TRY(read_regions(file, layout));
  std::vector<std::byte> table(kMetadataTableBytes);
  TRY(file.read_or_zero(layout.metadata, table));
  if (load_le<u64>(table) != kMetadataSignature)
    return fail(Errc::Corrupt, "The metadata region is damaged");
  const u16 count = load_le<u16>(table, 10);
  if (count > kMostEntries) return fail(Errc::Corrupt, "{} metadata items are too many", count);
  for (u32 i = 0; i < count; i++)
    TRY(read_item(file, layout, ConstBytes(table).subspan(32 + i * 32, 32)));
  if (!std::has_single_bit(layout.block) || layout.block < kSmallestBlock ||
      layout.block > kLargestBlock)
    return fail(Errc::Corrupt, "Blocks of {} bytes are no power of two from 1 to 256 MiB",
                layout.block);
  if (layout.logical_sector != 512 && layout.logical_sector != 4096)
    return fail(Errc::Corrupt, "Sectors of {} bytes are neither of 512 nor of 4096",
                layout.logical_sector);
  if (layout.disk_size == 0 || layout.disk_size > kMost || layout.disk_size % layout.logical_sector)
    return fail(Errc::Corrupt, "The disk has {} bytes", layout.disk_size);
  if (layout.bat_entries() * 8 > layout.bat_length)
    return fail(Errc::Corrupt, "The BAT of {} bytes is too short for the disk", layout.bat_length);
  return layout;
}

std::vector<std::byte> DiskLayout::region_table() const {
  std::vector<std::byte> b(kRegionTableBytes);
  store_le<u32>(b, 0, kRegionSignature);
  store_le<u32>(b, 8, 2);
  const auto put = [&](size_t at, const Guid& kind, u64 offset, u64 length) {
    put_guid(b, at, kind);
    store_le<u64>(b, at + 16, offset);
    store_le<u32>(b, at + 24, static_cast<u32>(length));
    store_le<u32>(b, at + 28, 1);
  };
  put(16, kBatRegion, bat, bat_length);
  put(48, kMetadataRegion, metadata, metadata_length);
  store_checksum(b, 4);
  return b;
}

std::vector<std::byte> DiskLayout::metadata_region(bool fixed) const {
  std::vector<std::byte> b(kMetadataTableBytes + 4096);
  store_le<u64>(b, 0, kMetadataSignature);
  store_le<u16>(b, 10, 5);
  size_t entry = 32, item = kMetadataTableBytes;
  const auto put = [&](const Guid& kind, u32 length, u32 flags) {
    put_guid(b, entry, kind);
    store_le<u32>(b, entry + 16, static_cast<u32>(item));
    store_le<u32>(b, entry + 20, length);
    store_le<u32>(b, entry + 24, flags);
    entry += 32;
    return std::exchange(item, item + length);
  };
  const size_t parameters = put(kFileParameters, 8, kRequired);
  store_le<u32>(b, parameters, static_cast<u32>(block));
  store_le<u32>(b, parameters + 4, fixed ? kLeaveAllocated : 0);
  store_le<u64>(b, put(kDiskSize, 8, kOfDisk | kRequired), disk_size);
  put_guid(b, put(kDiskId, 16, kOfDisk | kRequired), new_guid());
  store_le<u32>(b, put(kLogicalSector, 4, kOfDisk | kRequired), logical_sector);
  store_le<u32>(b, put(kPhysicalSector, 4, kOfDisk | kRequired), physical_sector);
  return b;
}

}  // namespace menura::vhdx
