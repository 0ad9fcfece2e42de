// VDI, version 1.1. All integers are little-endian; names as in the forum's table.
#include "block/vdi/vdi_image.h"

#include <algorithm>
#include <array>

#include "base/bytes.h"
#include "base/random.h"
#include "base/units.h"
#include "block/core/graph.h"
#include "block/sparse/sparse_image.h"

namespace menura {

namespace {

constexpr u32 kSignature = 0xbeda107f;
constexpr u32 kVersion = 0x00010001;
constexpr std::string_view kText = "<<< menura VM Virtual Disk Image >>>\n";
constexpr u64 kHeaderBytes = 512;
constexpr u32 kHeaderSize = 0x180;  // as the field tells it, without what precedes it
constexpr u64 kBlock = 1 * MiB;
constexpr u32 kMostBlocks = 0x1fffffff;  // whose map is 2 GiB
constexpr u32 kDynamic = 1, kStatic = 2;

enum Field : u32 {
  kSignatureAt = 0x40,
  kVersionAt = 0x44,
  kHeaderSizeAt = 0x48,
  kTypeAt = 0x4c,
  kMapOffsetAt = 0x154,
  kDataOffsetAt = 0x158,
  kSectorSizeAt = 0x168,
  kDiskSizeAt = 0x170,
  kBlockSizeAt = 0x178,
  kBlockExtraAt = 0x17c,
  kBlocksAt = 0x180,
  kAllocatedAt = 0x184,
  kUuidAt = 0x188,
  kSnapshotUuidAt = 0x198,
  kLinkUuidAt = 0x1a8,
  kParentUuidAt = 0x1b8,
};
constexpr u32 kUnallocated = 0xffffffff;  // entries of the map
constexpr u32 kDiscarded = 0xfffffffe;

struct Header {
  u32 type = kDynamic;
  u32 map = kHeaderBytes, data = 0;  // offsets
  u64 size = 0;
  u32 blocks = 0, allocated = 0;

  static Result<Header> parse(ConstBytes head) {
    if (load_le<u32>(head, kSignatureAt) != kSignature)
      return fail(Errc::Corrupt, "It has no VDI signature");
    Header h;
    h.type = load_le<u32>(head, kTypeAt);
    h.map = load_le<u32>(head, kMapOffsetAt), h.data = load_le<u32>(head, kDataOffsetAt);
    // Some programs leave sizes that are no whole sectors.
    const u64 size = load_le<u64>(head, kDiskSizeAt);
    h.blocks = load_le<u32>(head, kBlocksAt), h.allocated = load_le<u32>(head, kAllocatedAt);
    const auto wrong = [](std::string_view what, u64 value) {
      return fail(Errc::Unsupported, "VDI header: {} {} is not understood here", what, value);
    };
    if (const u32 version = load_le<u32>(head, kVersionAt); version != kVersion)
      return fail(Errc::Unsupported, "VDI version {}.{} is not known, only 1.1", version >> 16,
                  version & 0xffff);
    if (h.type != kDynamic && h.type != kStatic) return wrong("image type", h.type);
    if (h.map % 512 || h.map < kHeaderBytes) return wrong("offset of the map", h.map);
    if (h.data % 512) return wrong("offset of the blocks", h.data);
    if (const u32 s = load_le<u32>(head, kSectorSizeAt); s != 512) return wrong("sector size", s);
    if (const u32 b = load_le<u32>(head, kBlockSizeAt); b != kBlock) return wrong("block size", b);
    if (const u32 e = load_le<u32>(head, kBlockExtraAt)) return wrong("block extra data", e);
    if (h.blocks > kMostBlocks) return wrong("number of blocks", h.blocks);
    if (size > h.blocks * kBlock) return wrong("disk size", size);
    h.size = (size + 511) & ~u64{511};
    if (h.data < h.map + u64{h.blocks} * 4)
      return fail(Errc::Corrupt, "VDI header: the map reaches into the blocks");
    const auto is_set = [&](u32 uuid) {
      return std::ranges::any_of(head.subspan(uuid, 16),
                                 [](std::byte b) { return b != std::byte{0}; });
    };
    if (is_set(kLinkUuidAt) || is_set(kParentUuidAt))
      return fail(Errc::Unsupported, "VDI images that have a parent image cannot be opened here");
    return h;
  }

  std::vector<std::byte> serialize() const {
    std::vector<std::byte> out(kHeaderBytes);
    std::ranges::copy(bytes_of(kText), out.begin());
    store_le<u32>(out, kSignatureAt, kSignature);
    store_le<u32>(out, kVersionAt, kVersion);
    store_le<u32>(out, kHeaderSizeAt, kHeaderSize);
    store_le<u32>(out, kTypeAt, type);
    store_le<u32>(out, kMapOffsetAt, map);
    store_le<u32>(out, kDataOffsetAt, data);
    store_le<u32>(out, kSectorSizeAt, 512);
    store_le<u64>(out, kDiskSizeAt, size);
    store_le<u32>(out, kBlockSizeAt, static_cast<u32>(kBlock));
    store_le<u32>(out, kBlocksAt, blocks);
    store_le<u32>(out, kAllocatedAt, allocated);
    fill_random(Bytes(out).subspan(kUuidAt, 16));
    fill_random(Bytes(out).subspan(kSnapshotUuidAt, 16));
    return out;
  }
};

class VdiImage final : public SparseImage {
 public:
  static Result<std::unique_ptr<Image>> open(OpenContext& context) {
    ChildLink* link = TRY(context.child("file", ChildRole::Image));
    const Child& file = link->child;
    std::array<std::byte, kHeaderBytes> head;
    TRY(file->read_or_zero(0, head));
    const Header header = TRY(Header::parse(head));
    return std::unique_ptr<Image>(new VdiImage(header, !context.read_only(), file));
  }

  Result<CheckReport> check(Repair repair) override {
    CheckReport report = TRY(SparseImage::check(repair));
    if (header_.allocated >= report.allocated_clusters) return report;
    report.corruptions++;
    report.note(format("The header counts {} blocks, the map has {}", header_.allocated,
                       report.allocated_clusters));
    if (repair != Repair::All) return report;
    {
      const std::lock_guard lock(meta_);
      for (u64 index = 0; index < blocks(); index++)
        if (const Place place = TRY(find(index)); place.kind == Place::Kind::At)
          header_.allocated = std::max(
              header_.allocated, static_cast<u32>((place.offset - header_.data) / kBlock) + 1);
      std::array<std::byte, 4> bytes;
      store_le<u32>(bytes, 0, header_.allocated);
      TRY(tables_.store(kAllocatedAt, bytes));
    }
    TRY(commit());
    report.corruptions_fixed++;
    return report;
  }

 private:
  VdiImage(const Header& h, bool writable, const Child& file)
      : SparseImage({h.size, kBlock, end_of(h, file->size())}, writable, file), header_(h) {
    set_alignment(1);  // end() lies a whole number of blocks behind the first one
  }
  // What the header counts may be older than the map.
  static u64 end_of(const Header& h, u64 file_size) {
    const u64 behind = file_size > h.data ? (file_size - h.data + kBlock - 1) / kBlock : 0;
    return h.data + std::max<u64>(h.allocated, behind) * kBlock;
  }
  u64 entry_at(u64 index) const { return header_.map + index * 4; }

  Result<Place> find(u64 index) override {
    const u32 entry = load_le<u32>(TRY(tables_.at(entry_at(index), 4)));
    if (entry == kUnallocated) return Place{};
    if (entry == kDiscarded) return Place{.kind = Place::Kind::Zero};
    return Place{.kind = Place::Kind::At, .offset = header_.data + entry * kBlock};
  }
  Result<void> record(u64 index, const Place& place) override {
    u32 value = kUnallocated;
    if (place.kind == Place::Kind::Zero) value = kDiscarded;
    if (place.kind == Place::Kind::At) {
      value = static_cast<u32>((place.offset - header_.data) / kBlock);
      header_.allocated = std::max(header_.allocated, value + 1);
    }
    std::array<std::byte, 4> bytes;
    store_le<u32>(bytes, 0, header_.allocated);
    // With the map, so that both are one write where they are neighbours.
    TRY(tables_.store(kAllocatedAt, bytes));
    store_le<u32>(bytes, 0, value);
    return tables_.store(entry_at(index), bytes);
  }
  Result<u64> allocate(u64 index) override {
    if ((end() - header_.data) / kBlock >= kDiscarded)
      return fail(Errc::NoSpace, "The image has no numbers for more blocks");
    return SparseImage::allocate(index);
  }

  // State
  Header header_;
};

int probe(ConstBytes head, std::string_view) {
  return head.size() >= kHeaderBytes && load_le<u32>(head, kSignatureAt) == kSignature ? 100 : 0;
}

struct Create {
  std::optional<Size> size;
  bool is_static = false;
  void describe(PropertyVisitor& p) {
    p.field("size", size, "size of the disk");
    p.field("static", is_static, "give every block its place at once");
  }
};

Result<void> create(CreateContext& context) {
  const Create options = TRY(context.read_options<Create>("vdi"));
  Header h;
  h.size = options.size ? options.size->bytes : context.size;
  if (h.size > kMostBlocks * kBlock)
    return fail(Errc::OutOfRange, "A VDI disk holds {} bytes at most, not {}", kMostBlocks * kBlock,
                h.size);
  h.blocks = static_cast<u32>((h.size + kBlock - 1) / kBlock);
  h.data = static_cast<u32>((h.map + u64{h.blocks} * 4 + 511) & ~u64{511});
  if (options.is_static) h.type = kStatic, h.allocated = h.blocks;
  Child file = TRY(attach_for_creation(context));
  TRY(file->truncate(h.data + u64{h.allocated} * kBlock));
  // The map, a piece at a time.
  std::vector<std::byte> piece(std::min<u64>(h.data - h.map, MiB));
  for (u64 at = 0, i = 0; at < h.data - h.map; at += piece.size()) {
    piece.resize(static_cast<size_t>(std::min<u64>(piece.size(), h.data - h.map - at)));
    for (size_t b = 0; b + 4 <= piece.size(); b += 4, i++)
      store_le<u32>(piece, b,
                    i >= h.blocks       ? 0
                    : options.is_static ? static_cast<u32>(i)
                                        : kUnallocated);
    TRY(file->write(h.map + at, piece));
  }
  return file->write(0, h.serialize());
}

}  // namespace

const Driver kVdiDriver{.name = "vdi",
                        .help = "VirtualBox's disk image",
                        .kind = DriverKind::Format,
                        .probe = probe,
                        .open = VdiImage::open,
                        .create = create,
                        .create_options = properties_of<Create>};

}  // namespace menura
