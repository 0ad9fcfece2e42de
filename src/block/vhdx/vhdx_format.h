// The VHDX format's structures as values. All integers are little-endian.
//
// Owner: block/vhdx. Threads: values. Spec: [MS-VHDX] chapter 2; names as there.
// Example: `Headers h = TRY(Headers::read(*file));  DiskLayout l = TRY(DiskLayout::read(*file));`
#pragma once

#include <array>

#include "base/units.h"
#include "block/core/node.h"

namespace menura::vhdx {

using Guid = std::array<std::byte, 16>;
Guid new_guid();

inline constexpr u64 kMost = 64 * TiB;  // of a disk, and of where anything may lie
inline constexpr u64 kHeaderSection = 1 * MiB;
inline constexpr u64 kRegionTableBytes = 64 * KiB;

// Payload block states of BAT entries.
inline constexpr u64 kNotPresent = 0, kUndefined = 1, kZero = 2, kUnmapped = 3, kFullyPresent = 6;
inline constexpr u64 kStateMask = 7;
inline constexpr u64 kOffsetMask = ~u64{0xfffff};  // of BAT entries: counts MiB, so it is bytes

u32 crc32c(ConstBytes bytes);
// With the four bytes at `at` taken as zeroes: how structures keep their own checksum.
u32 checksum_without(ConstBytes bytes, size_t at);
void store_checksum(Bytes bytes, size_t at);

struct Header {
  u64 sequence = 0;
  Guid file_write{}, data_write{}, log{};
  u64 log_length = 0, log_offset = 0;

  static Result<Header> parse(ConstBytes bytes);
  std::vector<std::byte> serialize() const;
};

// The two copies, of which the newer valid one counts; written in turn.
struct Headers {
  Header now;
  unsigned newer = 0;  // which copy `now` is

  static Result<Headers> read(Node& file);
  // Counts the sequence up, and makes it durable in both copies.
  Result<void> write(Node& file);
};

// What the regions and the metadata say.
struct DiskLayout {
  u64 bat = 0, bat_length = 0;
  u64 metadata = 0, metadata_length = 0;
  u64 disk_size = 0;
  u64 block = 0;
  u32 logical_sector = 512, physical_sector = 4096;
  u64 end = kHeaderSection;  // behind all regions

  static Result<DiskLayout> read(Node& file);
  u64 blocks() const { return (disk_size + block - 1) / block; }
  // After so many blocks stands an entry for a sector bitmap.
  u64 chunk_ratio() const { return (u64{1} << 23) * logical_sector / block; }
  u64 bat_index(u64 index) const { return index + index / chunk_ratio(); }
  u64 bat_entries() const { return blocks() + (blocks() - 1) / chunk_ratio(); }

  std::vector<std::byte> region_table() const;
  std::vector<std::byte> metadata_region(bool fixed) const;
};

}  // namespace menura::vhdx
