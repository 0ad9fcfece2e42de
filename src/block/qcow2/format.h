// The qcow2 format's numbers (docs/interop/qcow2 of QEMU's documentation: "header", "L2 table
// entry", "refcount block", ...) and the header as a value. All integers are big-endian.
//
// Owner: block/qcow2. Threads: values. Whatever parse() lets through is inside its limits.
// Example: `Header header = TRY(Header::parse(first_cluster_bytes, file_size));`
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "base/types.h"
#include "base/units.h"

namespace menura::qcow2 {

inline constexpr u32 kMagic = 0x514649fb;  // "QFI\xfb"
inline constexpr unsigned kMinClusterBits = 9;
inline constexpr unsigned kMaxClusterBits = 21;

// Limits that the format leaves open: beyond them an image is hostile.
inline constexpr u64 kMaxL1Bytes = 32 * MiB;
inline constexpr u64 kMaxReftableBytes = 8 * MiB;
inline constexpr u32 kMaxSnapshots = 65536;
inline constexpr u64 kMaxSnapshotTableBytes = 64 * MiB;
inline constexpr u32 kMaxBackingName = 1023;
inline constexpr u32 kMaxBitmaps = 65535;
inline constexpr u64 kMaxBitmapDirectoryBytes = 64 * MiB;
// Guest offsets and host offsets have 56 bits at most in an L2 entry.
inline constexpr u64 kOffsetMask = 0x00fffffffffffe00;

inline constexpr u64 kCopied = u64{1} << 63;      // refcount is exactly 1: may be written in place
inline constexpr u64 kCompressed = u64{1} << 62;  // of L2 entries
inline constexpr u64 kZeroFlag = 1;               // of L2 entries, version 3

// Incompatible features.
inline constexpr u64 kDirty = 1;
inline constexpr u64 kCorrupt = 2;
inline constexpr u64 kDataFile = 4;
inline constexpr u64 kCompressionType = 8;
inline constexpr u64 kExtendedL2 = 16;
inline constexpr u64 kKnownIncompatible = 31;
// Compatible, autoclear.
inline constexpr u64 kLazyRefcounts = 1;
inline constexpr u64 kBitmapsConsistent = 1;
inline constexpr u64 kDataFileRaw = 2;

// Encryption methods.
inline constexpr u32 kCryptLuks = 2;

enum class CompressionType : u8 { Zlib, Zstd };
std::span<const std::string_view> enum_names(CompressionType);

struct Header {
  u32 version = 3;
  u32 cluster_bits = 16;
  u64 size = 0;
  u32 crypt_method = 0;  // 0 none, 1 AES, 2 LUKS
  u32 l1_size = 0;       // entries
  u64 l1_offset = 0;
  u64 reftable_offset = 0;
  u32 reftable_clusters = 0;
  u32 snapshot_count = 0;
  u64 snapshots_offset = 0;
  u64 incompatible = 0;
  u64 compatible = 0;
  u64 autoclear = 0;
  u32 refcount_order = 4;
  CompressionType compression = CompressionType::Zlib;
  // Extensions
  std::string backing_file;
  std::string backing_format;
  std::string data_file;
  struct Bitmaps {
    u32 count = 0;
    u64 directory_size = 0;
    u64 directory_offset = 0;
  };
  std::optional<Bitmaps> bitmaps;
  struct Crypto {
    u64 offset = 0;
    u64 length = 0;
  };
  std::optional<Crypto> crypto;
  struct Unknown {
    u32 type;
    std::vector<std::byte> data;
  };
  std::vector<Unknown> unknown;  // kept as they were

  u64 cluster_size() const { return u64{1} << cluster_bits; }
  bool extended_l2() const { return incompatible & kExtendedL2; }
  bool has_data_file() const { return incompatible & kDataFile; }
  bool data_file_is_raw() const { return autoclear & kDataFileRaw; }
  unsigned l2_entry_size() const { return extended_l2() ? 16 : 8; }
  unsigned l2_bits() const { return cluster_bits - (extended_l2() ? 4 : 3); }
  unsigned subclusters() const { return extended_l2() ? 32 : 1; }
  u64 subcluster_size() const { return cluster_size() / subclusters(); }
  // L1 entries that a disk of that size needs.
  u64 l1_entries_for(u64 bytes) const {
    const unsigned shift = cluster_bits + l2_bits();
    return (bytes >> shift) + ((bytes & ((u64{1} << shift) - 1)) ? 1 : 0);
  }
  unsigned refcount_bits() const { return 1u << refcount_order; }
  u64 refcounts_per_block() const { return cluster_size() * 8 >> refcount_order; }
  u64 max_refcount() const {
    return refcount_order == 6 ? ~u64{0} : (u64{1} << refcount_bits()) - 1;
  }

  // From the file's first bytes (at least 72; a cluster, where the file has one).
  static Result<Header> parse(ConstBytes head, u64 file_size);
  // How many bytes parse() wants to see; from the first 72.
  static Result<u64> wanted_bytes(ConstBytes head);
  // The first cluster. Errc::NoSpace when the names do not fit.
  Result<std::vector<std::byte>> serialize() const;

 private:
  enum class FeatureNames : bool { Untold, Told };
  Result<std::vector<std::byte>> assemble(FeatureNames names) const;
};

}  // namespace menura::qcow2
