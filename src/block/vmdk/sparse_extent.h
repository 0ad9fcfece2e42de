// SparseExtent: one file of grains found by two levels of tables, a "hosted sparse extent", whose
// grains may be compressed (streamOptimized).
//
// Owner: a VMDK image. Threads: as Image. Spec: "Virtual Disk Format 5.0", chapters "Hosted Sparse
// Extents" and "Stream-Optimized Compressed Sparse Extents". Example:
//   const SparseHeader h = TRY(SparseHeader::read(file));
//   auto extent = std::make_unique<SparseExtent>(h, true, file, &backing);
#pragma once

#include "block/sparse/sparse_image.h"
#include "block/vmdk/descriptor.h"

namespace menura::vmdk {

struct SparseHeader {
  static constexpr u64 kBytes = 512;
  static constexpr u32 kMagic = 0x564d444b;                                       // "KDMV" as bytes
  static constexpr u32 kNewlineTest = 1, kRedundantTable = 2, kZeroedGrains = 4;  // flags
  static constexpr u32 kCompressed = 1 << 16, kMarkers = 1 << 17;
  u32 version = 1;
  u32 flags = kNewlineTest | kRedundantTable;
  u64 capacity = 0;  // sectors, as all that follows
  u64 grain = 128;
  u64 descriptor = 0, descriptor_sectors = 0;
  u32 entries = 512;  // of a grain table
  u64 redundant_directory = 0, directory = 0;
  u64 overhead = 0;
  u16 compression = 0;

  // Checked; where the directory stands at the end, as the footer there says.
  static Result<SparseHeader> read(const Child& file);
  std::vector<std::byte> serialize() const;
  u64 tables() const { return (capacity + grain * entries - 1) / (grain * entries); }

 private:
  static Result<SparseHeader> parse(ConstBytes bytes);
};

class SparseExtent final : public SparseImage {
 public:
  // `backing` stands for the whole disk, of which this begins at `start`.
  SparseExtent(const SparseHeader& header, bool writable, const Child& file, const Child* backing);

  bool is_compressed() const { return header_.flags & SparseHeader::kCompressed; }
  const SparseHeader& header() const { return header_; }
  Result<void> write_compressed(u64 offset, ConstBytes from) override;

 private:
  Result<u64> table_of(u64 directory, u64 index);
  Result<Place> find(u64 index) override;
  Result<void> record(u64 index, const Place& place) override;
  Result<void> unpack(const Place& place, Bytes grain) override;
  Result<u64> allocate(u64 index) override;
  bool marks_zero() const override { return header_.flags & SparseHeader::kZeroedGrains; }

  // Configuration
  const SparseHeader header_;
};

}  // namespace menura::vmdk
