// The VHD format's structures: the footer that every disk has, and the header of dynamic ones. All
// integers are big-endian.
//
// Owner: block/vpc. Threads: values. Spec: Microsoft's "Virtual Hard Disk Image Format
// Specification", chapters "Hard Disk Footer Format", "Dynamic Disk Header Format", "Appendix: CHS
// Calculation". Example: `const Footer footer = TRY(Footer::parse(last_sector));`
#pragma once

#include <string>
#include <vector>

#include "base/result.h"
#include "base/types.h"
#include "base/units.h"

namespace menura::vpc {

inline constexpr u64 kSector = 512;
inline constexpr std::string_view kCookie = "conectix";
inline constexpr u32 kUnused = 0xffffffff;  // entries of the block allocation table
inline constexpr u64 kLargestDisk = 2040 * GiB;

enum class DiskType : u32 { Fixed = 2, Dynamic = 3, Differencing = 4 };

struct Geometry {
  u16 cylinders = 0;
  u8 heads = 0, sectors = 0;
  u64 product() const { return u64{cylinders} * heads * sectors; }
  // Of a disk with about so many sectors; never more.
  static Geometry of(u64 sectors);
  static Geometry largest() { return {65535, 16, 255}; }
};

struct Footer {
  static constexpr u64 kBytes = 512;
  DiskType type = DiskType::Dynamic;
  u64 data_offset = ~u64{0};  // of the dynamic disk's header
  u64 current_size = 0;
  Geometry geometry;
  std::string creator;  // four letters

  static Result<Footer> parse(ConstBytes sector);
  std::vector<std::byte> serialize() const;
  // The disk's bytes, by what its creator counted.
  u64 disk_size() const;
};

struct DynamicHeader {
  static constexpr u64 kBytes = 1024;
  u64 table_offset = 0;
  u32 entries = 0;
  u32 block_size = 2 * MiB;

  static Result<DynamicHeader> parse(ConstBytes bytes);
  std::vector<std::byte> serialize() const;
  // Before each block: a bit for each of its sectors, whole sectors of them.
  u64 bitmap_size() const { return (block_size / kSector / 8 + kSector - 1) / kSector * kSector; }
};

}  // namespace menura::vpc
