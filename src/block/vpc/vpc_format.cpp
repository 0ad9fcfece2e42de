#include "block/vpc/vpc_format.h"

#include <time.h>

#include <algorithm>
#include <bit>

#include "base/bytes.h"
#include "base/random.h"

namespace menura::vpc {

namespace {

enum FooterField : u32 {
  kFeaturesAt = 8,
  kVersionAt = 12,
  kDataOffsetAt = 16,
  kTimeAt = 24,
  kCreatorAt = 28,
  kCreatorVersionAt = 32,
  kCreatorHostAt = 36,
  kOriginalSizeAt = 40,
  kCurrentSizeAt = 48,
  kCylindersAt = 56,
  kHeadsAt = 58,
  kSectorsAt = 59,
  kTypeAt = 60,
  kChecksumAt = 64,
  kUuidAt = 68,
};
enum HeaderField : u32 {
  kNextAt = 8,
  kTableAt = 16,
  kHeaderVersionAt = 24,
  kEntriesAt = 28,
  kBlockSizeAt = 32,
  kHeaderChecksumAt = 36,
};

constexpr u32 kVersion = 0x00010000;
constexpr u32 kReserved = 2;         // the feature that is always there
constexpr i64 kEpoch = 946'684'800;  // 2000-01-01
constexpr std::string_view kHeaderCookie = "cxsparse";
constexpr u32 kMostBlockSize = 256 * MiB;

// The complement of the bytes' sum, their own checksum left out.
u32 checksum(ConstBytes bytes, u32 at) {
  u32 sum = 0;
  for (u32 i = 0; i < bytes.size(); i++)
    if (i < at || i >= at + 4) sum += static_cast<u8>(bytes[i]);
  return ~sum;
}

bool has_cookie(ConstBytes bytes, std::string_view cookie) {
  return std::ranges::equal(bytes.first(cookie.size()), bytes_of(cookie));
}

}  // namespace

Geometry Geometry::of(u64 sectors) {
  sectors = std::min(sectors, largest().product());
  const auto with = [&](u64 per_track, u64 heads) {
    return Geometry{static_cast<u16>(sectors / per_track / heads), static_cast<u8>(heads),
                    static_cast<u8>(per_track)};
  };
  if (sectors >= u64{65535} * 16 * 63) return with(255, 16);
  const u64 tracks = sectors / 17;
  const u64 heads = std::max<u64>((tracks + 1023) / 1024, 4);
  if (heads <= 16 && tracks < heads * 1024) return with(17, heads);
  return sectors / 31 < 16 * 1024 ? with(31, 16) : with(63, 16);
}

Result<Footer> Footer::parse(ConstBytes sector) {
  if (!has_cookie(sector, kCookie)) return fail(Errc::Corrupt, "It has no VHD footer");
  if (load_be<u32>(sector, kChecksumAt) != checksum(sector, kChecksumAt))
    return fail(Errc::Corrupt, "The checksum of the VHD footer is wrong");
  Footer f;
  const u32 type = load_be<u32>(sector, kTypeAt);
  if (type == static_cast<u32>(DiskType::Differencing))
    return fail(Errc::Unsupported, "Differencing VHD disks cannot be opened here");
  if (type != static_cast<u32>(DiskType::Fixed) && type != static_cast<u32>(DiskType::Dynamic))
    return fail(Errc::Unsupported, "VHD disk type {} is not known", type);
  f.type = static_cast<DiskType>(type);
  f.data_offset = load_be<u64>(sector, kDataOffsetAt);
  f.current_size = load_be<u64>(sector, kCurrentSizeAt);
  f.geometry = {load_be<u16>(sector, kCylindersAt), load_be<u8>(sector, kHeadsAt),
                load_be<u8>(sector, kSectorsAt)};
  f.creator.assign(reinterpret_cast<const char*>(sector.data()) + kCreatorAt, 4);
  if (f.disk_size() > kLargestDisk)
    return fail(Errc::Corrupt, "The VHD footer tells of {} bytes: no such disk is that large",
                f.disk_size());
  return f;
}

u64 Footer::disk_size() const {
  const bool by_geometry = creator == "vpc " || creator == "qemu";
  if (by_geometry && geometry.product() != Geometry::largest().product())
    return geometry.product() * kSector;
  return current_size / kSector * kSector;
}

std::vector<std::byte> Footer::serialize() const {
  std::vector<std::byte> out(kBytes);
  std::ranges::copy(bytes_of(kCookie), out.begin());
  store_be<u32>(out, kFeaturesAt, kReserved);
  store_be<u32>(out, kVersionAt, kVersion);
  store_be<u64>(out, kDataOffsetAt, data_offset);
  store_be<u32>(out, kTimeAt, static_cast<u32>(::time(nullptr) - kEpoch));
  std::ranges::copy(bytes_of(creator), out.begin() + kCreatorAt);
  store_be<u32>(out, kCreatorVersionAt, 0x00010000);
  std::ranges::copy(bytes_of(std::string_view("Wi2k")), out.begin() + kCreatorHostAt);
  store_be<u64>(out, kOriginalSizeAt, current_size);
  store_be<u64>(out, kCurrentSizeAt, current_size);
  store_be<u16>(out, kCylindersAt, geometry.cylinders);
  store_be<u8>(out, kHeadsAt, geometry.heads);
  store_be<u8>(out, kSectorsAt, geometry.sectors);
  store_be<u32>(out, kTypeAt, static_cast<u32>(type));
  fill_random(Bytes(out).subspan(kUuidAt, 16));
  store_be<u32>(out, kChecksumAt, checksum(out, kChecksumAt));
  return out;
}

Result<DynamicHeader> DynamicHeader::parse(ConstBytes bytes) {
  if (!has_cookie(bytes, kHeaderCookie))
    return fail(Errc::Corrupt, "The dynamic VHD disk has no header");
  if (load_be<u32>(bytes, kHeaderChecksumAt) != checksum(bytes, kHeaderChecksumAt))
    return fail(Errc::Corrupt, "The checksum of the dynamic disk's header is wrong");
  DynamicHeader h;
  h.table_offset = load_be<u64>(bytes, kTableAt);
  h.entries = load_be<u32>(bytes, kEntriesAt);
  h.block_size = load_be<u32>(bytes, kBlockSizeAt);
  if (!std::has_single_bit(h.block_size) || h.block_size < kSector || h.block_size > kMostBlockSize)
    return fail(Errc::Corrupt, "Blocks of {} bytes are no power of two up to 256 MiB",
                h.block_size);
  if (h.table_offset % kSector || h.table_offset > u64{1} << 62)
    return fail(Errc::Corrupt, "The block allocation table lies at {}", h.table_offset);
  return h;
}

std::vector<std::byte> DynamicHeader::serialize() const {
  std::vector<std::byte> out(kBytes);
  std::ranges::copy(bytes_of(kHeaderCookie), out.begin());
  store_be<u64>(out, kNextAt, ~u64{0});
  store_be<u64>(out, kTableAt, table_offset);
  store_be<u32>(out, kHeaderVersionAt, kVersion);
  store_be<u32>(out, kEntriesAt, entries);
  store_be<u32>(out, kBlockSizeAt, block_size);
  store_be<u32>(out, kHeaderChecksumAt, checksum(out, kHeaderChecksumAt));
  return out;
}

}  // namespace menura::vpc
