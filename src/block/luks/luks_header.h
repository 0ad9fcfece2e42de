// The LUKS header (version 1) as a value, and the splitting that spreads a key over a slot's stripes.
// All integers are big-endian.
//
// Owner: block/luks. Threads: values. Spec: "LUKS On-Disk Format Specification 1.2.3".
// Example: `const LuksHeader h = TRY(LuksHeader::parse(first_592_bytes));`
#pragma once

#include <array>
#include <string>

#include "block/luks/cipher.h"

namespace menura::luks {

struct LuksHeader {
  static constexpr size_t kBytes = 592;
  static constexpr size_t kSlots = 8;
  static constexpr u32 kStripes = 4000;
  static constexpr u64 kAlignment = 4096;  // of key material and payload
  static constexpr size_t kSalt = 32, kDigest = 20;

  struct Slot {
    bool active = false;
    u32 iterations = 0;
    std::array<std::byte, kSalt> salt{};
    u32 material = 0;  // sector of it
  };
  CipherSpec cipher;
  Hash hash = Hash::Sha256;
  u32 payload = 0;  // sector of it
  std::array<std::byte, kDigest> digest{};
  std::array<std::byte, kSalt> salt{};
  u32 iterations = 0;
  std::string uuid;
  std::array<Slot, kSlots> slots;

  u64 payload_offset() const { return payload * kSector; }
  // A slot's key material, on disk.
  u64 material_bytes() const {
    return (cipher.key_bytes() * kStripes + kSector - 1) / kSector * kSector;
  }
  // Places for all slots and the payload, as the cipher's key needs.
  void lay_out();

  static Result<LuksHeader> parse(ConstBytes bytes);
  std::vector<std::byte> serialize() const;
};

// AFsplit and AFmerge: `split` has kStripes times the key's bytes.
std::vector<std::byte> split_key(Hash hash, ConstBytes key);
std::vector<std::byte> merge_key(Hash hash, ConstBytes split, size_t key_bytes);

}  // namespace menura::luks
