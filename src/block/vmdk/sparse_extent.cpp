#include "block/vmdk/sparse_extent.h"

#include <algorithm>
#include <array>
#include <bit>

#include "base/bytes.h"
#include "base/units.h"
#include "block/core/deflate.h"

namespace menura::vmdk {

namespace {

constexpr u64 kAtEnd = ~u64{0};  // of the grain directory: look at the footer
constexpr u16 kDeflate = 1;
constexpr u64 kMarkerBytes = 12;  // before a compressed grain: its first sector, its size
constexpr u32 kZeroGrain = 1;     // as an entry
constexpr u64 kMostSectors = u64{1} << 53;
constexpr u64 kMostTables = 1 << 22;
// Behind the footer: the end-of-stream marker; before it the footer's own marker.
constexpr u64 kFooterFromEnd = 2 * kSector;

enum Field : u32 {
  kVersionAt = 4,
  kFlagsAt = 8,
  kCapacityAt = 12,
  kGrainAt = 20,
  kDescriptorAt = 28,
  kDescriptorSizeAt = 36,
  kEntriesAt = 44,
  kRedundantAt = 48,
  kDirectoryAt = 56,
  kOverheadAt = 64,
  kNewlinesAt = 73,
  kCompressionAt = 77,
};

}  // namespace

Result<SparseHeader> SparseHeader::parse(ConstBytes bytes) {
  if (load_le<u32>(bytes) != kMagic)
    return fail(Errc::Corrupt, "The extent does not begin as a sparse one does");
  SparseHeader h;
  h.version = load_le<u32>(bytes, kVersionAt);
  h.flags = load_le<u32>(bytes, kFlagsAt);
  h.capacity = load_le<u64>(bytes, kCapacityAt);
  h.grain = load_le<u64>(bytes, kGrainAt);
  h.descriptor = load_le<u64>(bytes, kDescriptorAt);
  h.descriptor_sectors = load_le<u64>(bytes, kDescriptorSizeAt);
  h.entries = load_le<u32>(bytes, kEntriesAt);
  h.redundant_directory = load_le<u64>(bytes, kRedundantAt);
  h.directory = load_le<u64>(bytes, kDirectoryAt);
  h.overhead = load_le<u64>(bytes, kOverheadAt);
  h.compression = load_le<u16>(bytes, kCompressionAt);
  return h;
}

Result<SparseHeader> SparseHeader::read(const Child& file) {
  std::array<std::byte, kBytes> bytes;
  TRY(file->read_or_zero(0, bytes));
  SparseHeader h = TRY(parse(bytes));
  if (h.directory == kAtEnd) {
    const u64 size = file->size();
    if (size < kBytes + 3 * kSector)
      return fail(Errc::Corrupt, "The extent is too short for the footer it promises");
    TRY(file->read(size / kSector * kSector - kFooterFromEnd, bytes));
    const SparseHeader first = h;
    h = TRY(parse(bytes), "Reading the footer");
    h.descriptor = first.descriptor, h.descriptor_sectors = first.descriptor_sectors;
  }
  if (h.version < 1 || h.version > 3)
    return fail(Errc::Unsupported, "Version {} of VMDK extents is not known", h.version);
  if ((h.flags & kNewlineTest) && load_le<u32>(bytes, kNewlinesAt) != 0x0a0d200a)
    return fail(Errc::Corrupt, "Line ends in the extent were changed, as by a transfer of text");
  if (!std::has_single_bit(h.grain) || h.grain < 8 || h.grain > 4096)
    return fail(Errc::Corrupt, "Grains of {} sectors are no power of two from 8 to 4096", h.grain);
  if (!std::has_single_bit(h.entries) || h.entries > 512)
    return fail(Errc::Corrupt, "Grain tables of {} entries are not up to 512", h.entries);
  if (h.capacity > kMostSectors || h.tables() > kMostTables)
    return fail(Errc::OutOfRange, "An extent of {} sectors is too large", h.capacity);
  if (h.directory > kMostSectors || h.redundant_directory > kMostSectors || h.directory == 0)
    return fail(Errc::Corrupt, "The grain directory lies at sector {}", h.directory);
  if ((h.flags & kCompressed) && h.compression != kDeflate)
    return fail(Errc::Unsupported, "Compression {} of grains is not known", h.compression);
  if (h.descriptor > kMostSectors || h.descriptor_sectors > kLongestDescriptor / kSector)
    return fail(Errc::Corrupt, "The descriptor inside the extent takes {} sectors",
                h.descriptor_sectors);
  return h;
}

std::vector<std::byte> SparseHeader::serialize() const {
  std::vector<std::byte> out(kBytes);
  store_le<u32>(out, 0, kMagic);
  store_le<u32>(out, kVersionAt, version);
  store_le<u32>(out, kFlagsAt, flags);
  store_le<u64>(out, kCapacityAt, capacity);
  store_le<u64>(out, kGrainAt, grain);
  store_le<u64>(out, kDescriptorAt, descriptor);
  store_le<u64>(out, kDescriptorSizeAt, descriptor_sectors);
  store_le<u32>(out, kEntriesAt, entries);
  store_le<u64>(out, kRedundantAt, redundant_directory);
  store_le<u64>(out, kDirectoryAt, directory);
  store_le<u64>(out, kOverheadAt, overhead);
  store_le<u32>(out, kNewlinesAt, 0x0a0d200a);
  store_le<u16>(out, kCompressionAt, compression);
  return out;
}

SparseExtent::SparseExtent(const SparseHeader& h, bool writable, const Child& file,
                           const Child* backing)
    : SparseImage({h.capacity * kSector, h.grain * kSector,
                   std::max(h.overhead * kSector, (file->size() + kSector - 1) & ~(kSector - 1))},
                  writable, file, backing),
      header_(h) {
  set_alignment(block());
}

// Where the grain table is that has block `index`; 0: there is none.
Result<u64> SparseExtent::table_of(u64 directory, u64 index) {
  const u64 at = directory * kSector + index / header_.entries * 4;
  return load_le<u32>(TRY(roots_.at(at, 4))) * kSector;
}

Result<SparseImage::Place> SparseExtent::find(u64 index) {
  const u64 within = index % header_.entries;
  const u64 table = TRY(table_of(header_.directory, index));
  if (table == 0) return Place{.alike = header_.entries - within};
  const u32 entry = load_le<u32>(TRY(tables_.at(table + within * 4, 4)));
  if (entry == 0) return Place{};
  if (entry == kZeroGrain && marks_zero()) return Place{.kind = Place::Kind::Zero};
  const u64 offset = entry * kSector;
  if (!is_compressed()) return Place{.kind = Place::Kind::At, .offset = offset};
  return Place{.kind = Place::Kind::Packed, .offset = offset, .packed = kMarkerBytes};
}

Result<u64> SparseExtent::allocate(u64 index) {
  if (is_compressed())
    return fail(Errc::Unsupported,
                "A streamOptimized disk is written once, whole grains at a time and compressed");
  if (end() / kSector >= 0xffffffff)
    return fail(Errc::NoSpace, "Grain tables cannot lead to places beyond {}", end());
  return SparseImage::allocate(index);
}

Result<void> SparseExtent::record(u64 index, const Place& place) {
  std::array<std::byte, 4> bytes;
  u32 entry = static_cast<u32>(place.offset / kSector);
  if (place.kind == Place::Kind::Zero) entry = kZeroGrain;
  store_le<u32>(bytes, 0, entry);
  const u64 within = index % header_.entries * 4;
  const u64 table = TRY(table_of(header_.directory, index));
  if (table == 0)
    return fail(Errc::Unsupported, "The extent has no grain table for its block {}", index);
  if (header_.flags & SparseHeader::kRedundantTable)
    if (const u64 copy = TRY(table_of(header_.redundant_directory, index)); copy != 0)
      TRY(tables_.store(copy + within, bytes));
  return tables_.store(table + within, bytes);
}

Result<void> SparseExtent::unpack(const Place& place, Bytes grain) {
  std::array<std::byte, kMarkerBytes> marker;
  TRY(file()->read_or_zero(place.offset, marker));
  const u32 size = load_le<u32>(marker, 8);
  // What does not get smaller grows by little.
  if (size == 0 || size > 2 * block())
    return fail(Errc::Corrupt, "A compressed grain of {} bytes", size);
  std::vector<std::byte> packed(size);
  TRY(file()->read_or_zero(place.offset + kMarkerBytes, packed));
  return inflate_block(packed, grain, kZlib15);
}

Result<void> SparseExtent::write_compressed(u64 offset, ConstBytes from) {
  if (!is_compressed())
    return fail(Errc::Unsupported, "Only streamOptimized disks have compressed grains");
  if (offset % block() || (from.size() % block() && offset + from.size() != size()))
    return fail(Errc::InvalidArgument, "Compressed writes are of whole grains");
  std::vector<std::byte> grain(static_cast<size_t>(block()));
  std::vector<std::byte> packed(static_cast<size_t>(kMarkerBytes + 2 * block()));
  for (; !from.empty(); offset += block()) {
    const ConstBytes part = from.first(std::min<size_t>(from.size(), block()));
    std::ranges::fill(grain, std::byte{0});
    std::ranges::copy(part, grain.begin());
    const size_t size = TRY(deflate_block(grain, Bytes(packed).subspan(kMarkerBytes), kZlib15));
    store_le<u64>(packed, 0, offset / kSector);
    store_le<u32>(packed, 8, static_cast<u32>(size));
    TRY(write_packed(offset / block(), ConstBytes(packed).first(kMarkerBytes + size), kSector));
    from = from.subspan(part.size());
  }
  return {};
}

}  // namespace menura::vmdk
