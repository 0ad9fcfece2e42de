#include "block/qcow2/format.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "base/bytes.h"
#include "base/units.h"

namespace menura::qcow2 {

namespace {

constexpr std::string_view kCompressionNames[] = {"zlib", "zstd"};
constexpr u32 kV2Length = 72;
constexpr u32 kV3Length = 104;
constexpr u32 kHeaderLength = 112;  // with the compression type, padded to 8

enum Extension : u32 {
  kEnd = 0,
  kBackingFormat = 0xe2792aca,
  kFeatureNames = 0x6803f857,
  kBitmapsExtension = 0x23852875,
  kCryptoHeader = 0x0537be77,
  kDataFileName = 0x44415441,
};

struct FeatureName {
  u8 type, bit;
  std::string_view name;
};
constexpr FeatureName kFeatures[] = {
    {0, 0, "dirty bit"},        {0, 1, "corrupt bit"},         {0, 2, "external data file"},
    {0, 3, "compression type"}, {0, 4, "extended L2 entries"}, {1, 0, "lazy refcounts"},
    {2, 0, "bitmaps"},          {2, 1, "raw external data"},
};

std::string text_of(ConstBytes bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

Error corrupt(std::string_view what) { return fail(Errc::Corrupt, "qcow2 header: {}", what); }

// Which unknown features the image asks for, by the names it brings.
std::string feature_names(u64 bits, ConstBytes table) {
  std::string names;
  for (unsigned bit = 0; bit < 64; bit++) {
    if (!(bits >> bit & 1)) continue;
    std::string name = format("Unknown incompatible feature: bit {}", bit);
    for (size_t at = 0; at + 48 <= table.size(); at += 48)
      if (load_le<u8>(table, at) == 0 && load_le<u8>(table, at + 1) == bit) {
        const char* text = reinterpret_cast<const char*>(table.data() + at + 2);
        name = std::string(text, ::strnlen(text, 46));
      }
    names += (names.empty() ? "" : ", ") + name;
  }
  return names;
}

Result<void> check_table(u64 offset, u64 bytes, u64 cluster_size, std::string_view what) {
  if (offset & (cluster_size - 1)) return corrupt(format("the {} is not aligned", what));
  if (offset > ~u64{0} / 2 - bytes) return corrupt(format("the {} lies too far out", what));
  return {};
}

Result<void> check_limits(const Header& h) {
  const u64 cluster = h.cluster_size();
  if (u64{h.l1_size} * 8 > kMaxL1Bytes)
    return fail(Errc::OutOfRange, "The L1 table takes more than 32 MiB");
  if (u64{h.reftable_clusters} * cluster > kMaxReftableBytes || h.reftable_clusters == 0)
    return fail(Errc::OutOfRange, "The reference count table takes {} clusters",
                h.reftable_clusters);
  if (h.l1_size < h.l1_entries_for(h.size))
    return corrupt("the L1 table covers less than the disk");
  if (h.size > u64{1} << 62) return corrupt("the disk is too large");
  TRY(check_table(h.l1_offset, u64{h.l1_size} * 8, cluster, "L1 table"));
  if (h.l1_size && h.l1_offset == 0) return corrupt("there is no L1 table");
  TRY(check_table(h.reftable_offset, u64{h.reftable_clusters} * cluster, cluster,
                  "reference count table"));
  if (h.reftable_offset == 0) return corrupt("there is no reference count table");
  if (h.snapshot_count > kMaxSnapshots)
    return fail(Errc::OutOfRange, "{} snapshots are more than an image may have", h.snapshot_count);
  if (h.snapshot_count) TRY(check_table(h.snapshots_offset, 0, cluster, "snapshot table"));
  if (h.crypt_method > 2)
    return fail(Errc::Unsupported, "Encryption method {} is not known", h.crypt_method);
  if (h.extended_l2() && h.cluster_bits < 14)
    return corrupt("extended L2 entries need clusters of at least 16 KiB");
  if (h.has_data_file() && h.version < 3) return corrupt("version 2 has no external data file");
  return {};
}

Result<void> parse_extension(Header& h, u32 type, ConstBytes data,
                             std::vector<std::byte>& features) {
  switch (type) {
    case kBackingFormat: h.backing_format = text_of(data); return {};
    case kDataFileName: h.data_file = text_of(data); return {};
    case kFeatureNames: features.assign(data.begin(), data.end()); return {};
    case kBitmapsExtension: {
      if (data.size() != 24) return corrupt("bitmaps extension of a wrong size");
      const Header::Bitmaps b{load_be<u32>(data, 0), load_be<u64>(data, 8), load_be<u64>(data, 16)};
      if (!(h.autoclear & kBitmapsConsistent)) return {};  // written by a program that knows none
      if (b.count == 0 || b.count > kMaxBitmaps || b.directory_size > kMaxBitmapDirectoryBytes ||
          b.directory_size == 0)
        return corrupt("bitmaps extension out of range");
      TRY(check_table(b.directory_offset, b.directory_size, h.cluster_size(), "bitmap directory"));
      h.bitmaps = b;
      return {};
    }
    case kCryptoHeader:
      if (data.size() != 16) return corrupt("encryption extension of a wrong size");
      h.crypto = Header::Crypto{load_be<u64>(data, 0), load_be<u64>(data, 8)};
      return {};
    default: h.unknown.push_back({type, {data.begin(), data.end()}}); return {};
  }
}

}  // namespace

std::span<const std::string_view> enum_names(CompressionType) { return kCompressionNames; }

Result<u64> Header::wanted_bytes(ConstBytes head) {
  if (head.size() < kV2Length || load_be<u32>(head, 0) != kMagic)
    return fail(Errc::Corrupt, "It does not begin as a qcow2 image does");
  const u32 version = load_be<u32>(head, 4);
  if (version < 2 || version > 3)
    return fail(Errc::Unsupported, "Version {} of qcow2 is not known (2 and 3 are)", version);
  const u32 bits = load_be<u32>(head, 20);
  if (bits < kMinClusterBits || bits > kMaxClusterBits)
    return fail(Errc::Corrupt, "Clusters of 2^{} bytes are no qcow2 clusters", bits);
  return u64{1} << bits;
}

Result<Header> Header::parse(ConstBytes head, u64 file_size) {
  (void)file_size;
  TRY(wanted_bytes(head));
  Header h;
  h.version = load_be<u32>(head, 4);
  const u64 backing_offset = load_be<u64>(head, 8);
  const u32 backing_size = load_be<u32>(head, 16);
  h.cluster_bits = load_be<u32>(head, 20);
  h.size = load_be<u64>(head, 24);
  h.crypt_method = load_be<u32>(head, 32);
  h.l1_size = load_be<u32>(head, 36);
  h.l1_offset = load_be<u64>(head, 40);
  h.reftable_offset = load_be<u64>(head, 48);
  h.reftable_clusters = load_be<u32>(head, 56);
  h.snapshot_count = load_be<u32>(head, 60);
  h.snapshots_offset = load_be<u64>(head, 64);
  u32 header_length = kV2Length;
  if (h.version >= 3) {
    if (head.size() < kV3Length) return corrupt("cut off");
    h.incompatible = load_be<u64>(head, 72);
    h.compatible = load_be<u64>(head, 80);
    h.autoclear = load_be<u64>(head, 88);
    h.refcount_order = load_be<u32>(head, 96);
    header_length = load_be<u32>(head, 100);
    if (header_length < kV3Length) return corrupt("its header ends before its fields");
    if (header_length > head.size()) return corrupt("its header is longer than a cluster");
    if (h.refcount_order > 6) return corrupt("its reference counts are wider than 64 bits");
    const u8 compression = header_length > kV3Length ? load_le<u8>(head, kV3Length) : 0;
    if (compression > 1)
      return fail(Errc::Unsupported, "Compression {} is not known (0 zlib, 1 zstd)", compression);
    if ((compression != 0) != ((h.incompatible & kCompressionType) != 0))
      return corrupt("Compression type and its incompatible feature bit disagree");
    h.compression = static_cast<CompressionType>(compression);
  }
  std::vector<std::byte> features;
  u64 end = backing_offset ? std::min<u64>(backing_offset, head.size()) : head.size();
  for (u64 at = header_length; at + 8 <= end;) {
    const u32 type = load_be<u32>(head, at);
    const u32 length = load_be<u32>(head, at + 4);
    at += 8;
    if (type == kEnd) break;
    if (length > end - at) return corrupt("a header extension is too large");
    TRY(parse_extension(h, type, head.subspan(at, length), features));
    at += (u64{length} + 7) & ~u64{7};
  }
  if (const u64 unknown = h.incompatible & ~kKnownIncompatible)
    return fail(Errc::Unsupported, "It uses features that are not known: {}",
                feature_names(unknown, features));
  if (backing_offset) {
    if (backing_size > kMaxBackingName || backing_offset > head.size() ||
        backing_size > head.size() - backing_offset)
      return corrupt("the name of the backing image does not fit");
    h.backing_file = text_of(head.subspan(backing_offset, backing_size));
  }
  TRY(check_limits(h));
  return h;
}

namespace {

void put_extension(std::vector<std::byte>& out, u32 type, ConstBytes data) {
  const size_t at = out.size();
  out.resize(at + 8 + ((data.size() + 7) & ~size_t{7}));
  store_be<u32>(out, at, type);
  store_be<u32>(out, at + 4, static_cast<u32>(data.size()));
  std::copy(data.begin(), data.end(), out.begin() + static_cast<i64>(at + 8));
}

void put_features(std::vector<std::byte>& out) {
  std::vector<std::byte> table(48 * std::size(kFeatures));
  for (size_t i = 0; i < std::size(kFeatures); i++) {
    table[48 * i] = std::byte{kFeatures[i].type};
    table[48 * i + 1] = std::byte{kFeatures[i].bit};
    std::memcpy(table.data() + 48 * i + 2, kFeatures[i].name.data(), kFeatures[i].name.size());
  }
  put_extension(out, kFeatureNames, table);
}

}  // namespace

Result<std::vector<std::byte>> Header::serialize() const {
  std::vector<std::byte> out = TRY(assemble(FeatureNames::Told));
  // Names are for people with older programs: what the image needs goes first.
  if (out.size() > cluster_size()) out = TRY(assemble(FeatureNames::Untold));
  if (out.size() > cluster_size())
    return fail(Errc::NoSpace, "The qcow2 header does not fit into a cluster of {} bytes",
                cluster_size());
  out.resize(cluster_size());
  return out;
}

Result<std::vector<std::byte>> Header::assemble(FeatureNames names) const {
  std::vector<std::byte> out(version >= 3 ? kHeaderLength : kV2Length);
  store_be<u32>(out, 0, kMagic);
  store_be<u32>(out, 4, version);
  store_be<u32>(out, 20, cluster_bits);
  store_be<u64>(out, 24, size);
  store_be<u32>(out, 32, crypt_method);
  store_be<u32>(out, 36, l1_size);
  store_be<u64>(out, 40, l1_offset);
  store_be<u64>(out, 48, reftable_offset);
  store_be<u32>(out, 56, reftable_clusters);
  store_be<u32>(out, 60, snapshot_count);
  store_be<u64>(out, 64, snapshots_offset);
  if (version >= 3) {
    store_be<u64>(out, 72, incompatible);
    store_be<u64>(out, 80, compatible);
    store_be<u64>(out, 88, autoclear);
    store_be<u32>(out, 96, refcount_order);
    store_be<u32>(out, 100, kHeaderLength);
    out[104] = static_cast<std::byte>(compression);
  }
  if (!backing_format.empty()) put_extension(out, kBackingFormat, bytes_of(backing_format));
  if (!data_file.empty()) put_extension(out, kDataFileName, bytes_of(data_file));
  if (crypto) {
    std::array<std::byte, 16> data;
    store_be<u64>(data, 0, crypto->offset);
    store_be<u64>(data, 8, crypto->length);
    put_extension(out, kCryptoHeader, data);
  }
  if (version >= 3 && names == FeatureNames::Told) put_features(out);
  if (bitmaps) {
    std::array<std::byte, 24> data{};
    store_be<u32>(data, 0, bitmaps->count);
    store_be<u64>(data, 8, bitmaps->directory_size);
    store_be<u64>(data, 16, bitmaps->directory_offset);
    put_extension(out, kBitmapsExtension, data);
  }
  for (const Unknown& extension : unknown) put_extension(out, extension.type, extension.data);
  put_extension(out, kEnd, {});
  if (!backing_file.empty()) {
    if (backing_file.size() > kMaxBackingName)
      return fail(Errc::InvalidArgument, "The name of the backing image has {} bytes, more than {}",
                  backing_file.size(), kMaxBackingName);
    store_be<u64>(out, 8, static_cast<u64>(out.size()));
    store_be<u32>(out, 16, static_cast<u32>(backing_file.size()));
    const ConstBytes name = bytes_of(backing_file);
    out.insert(out.end(), name.begin(), name.end());
  }
  return out;
}

}  // namespace menura::qcow2
