// qcow, version 1. All integers are big-endian; names as in the document.
#include "block/qcow/qcow_image.h"

#include <time.h>

#include <algorithm>
#include <array>

#include "base/bytes.h"
#include "base/units.h"
#include "block/core/deflate.h"
#include "block/core/graph.h"
#include "block/sparse/sparse_image.h"

namespace menura {

namespace {

constexpr u32 kMagic = 0x514649fb;  // "QFI\xfb"
constexpr u32 kVersion = 1;
constexpr u64 kHeaderBytes = 48;
constexpr u64 kCompressed = u64{1} << 63;  // of L2 entries
constexpr u32 kLongestName = 1023;
constexpr u64 kMostL1Entries = u64{1} << 28;

enum Field : u32 {
  kVersionAt = 4,
  kBackingOffsetAt = 8,
  kBackingSizeAt = 16,
  kTimeAt = 20,
  kSizeAt = 24,
  kClusterBitsAt = 32,
  kL2BitsAt = 33,
  kCryptAt = 36,
  kL1OffsetAt = 40,
};

struct Header {
  u64 size = 0;
  u32 cluster_bits = 12, l2_bits = 9;
  u64 l1 = 0;
  u64 backing_offset = 0;
  u32 backing_size = 0;

  u64 cluster() const { return u64{1} << cluster_bits; }
  u64 l2_entries() const { return u64{1} << l2_bits; }
  u64 l1_entries() const {
    const unsigned shift = cluster_bits + l2_bits;
    return (size >> shift) + ((size & ((u64{1} << shift) - 1)) != 0);
  }
  u64 l1_end() const { return l1 + l1_entries() * 8; }

  static Result<Header> parse(ConstBytes head) {
    if (load_be<u32>(head, 0) != kMagic)
      return fail(Errc::Corrupt, "It does not begin as a qcow image does");
    if (const u32 version = load_be<u32>(head, kVersionAt); version != kVersion)
      return fail(Errc::Unsupported, "Version {} is not qcow's, which is 1 (qcow2 has others)",
                  version);
    Header h;
    h.size = load_be<u64>(head, kSizeAt);
    h.cluster_bits = load_be<u8>(head, kClusterBitsAt);
    h.l2_bits = load_be<u8>(head, kL2BitsAt);
    h.l1 = load_be<u64>(head, kL1OffsetAt);
    h.backing_offset = load_be<u64>(head, kBackingOffsetAt);
    h.backing_size = load_be<u32>(head, kBackingSizeAt);
    if (h.size <= 1 || h.size > u64{1} << 62)
      return fail(Errc::Corrupt, "A disk of {} bytes is none", h.size);
    if (h.cluster_bits < 9 || h.cluster_bits > 16)
      return fail(Errc::Corrupt, "Clusters of 2^{} bytes are not from 512 to 64k", h.cluster_bits);
    if (h.l2_bits < 6 || h.l2_bits > 13)
      return fail(Errc::Corrupt, "L2 tables of 2^{} entries are not from 64 to 8192", h.l2_bits);
    if (const u32 method = load_be<u32>(head, kCryptAt))
      return fail(Errc::Unsupported,
                  "It is encrypted (method {}), which qcow did badly: convert "
                  "it with a program that still reads it",
                  method);
    if (h.l1_entries() > kMostL1Entries)
      return fail(Errc::OutOfRange, "An L1 table of {} entries is too large", h.l1_entries());
    if (h.l1 % 8 || h.l1 > u64{1} << 62)
      return fail(Errc::Corrupt, "The L1 table lies at {}", h.l1);
    if (h.backing_offset && (h.backing_size > kLongestName || h.backing_offset > u64{1} << 62))
      return fail(Errc::Corrupt, "The backing image's name has {} bytes", h.backing_size);
    return h;
  }
};

class QcowImage final : public SparseImage {
 public:
  static Result<std::unique_ptr<Image>> open(OpenContext& context) {
    ChildLink* link = TRY(context.child("file", ChildRole::Image));
    const Child& file = link->child;
    std::array<std::byte, kHeaderBytes> head;
    TRY(file->read_or_zero(0, head));
    const Header header = TRY(Header::parse(head));
    std::string name(header.backing_offset ? header.backing_size : 0, '\0');
    TRY(file->read_or_zero(header.backing_offset,
                           std::as_writable_bytes(std::span(name.data(), name.size()))));
    ChildLink* backing = TRY(context.backing(name, ""));
    return std::unique_ptr<Image>(
        new QcowImage(header, !context.read_only(), file, backing->child, std::move(name)));
  }

  ImageInfo info() override {
    ImageInfo info = SparseImage::info();
    info.backing_file = backing_name_;
    return info;
  }
  Result<CheckReport> check(Repair) override {
    return fail(Errc::Unsupported, "qcow has nothing by which an image could be checked");
  }

  Result<void> write_compressed(u64 offset, ConstBytes from) override {
    const bool cut_by_end = offset + from.size() == size();
    if (offset % block() || (from.size() % block() && !cut_by_end))
      return fail(Errc::InvalidArgument, "Compressed writes are of whole clusters");
    std::vector<std::byte> cluster(block()), room(block() - 1);
    for (; !from.empty(); offset += block()) {
      const ConstBytes part = from.first(std::min<size_t>(from.size(), block()));
      std::ranges::fill(cluster, std::byte{0});
      std::ranges::copy(part, cluster.begin());
      const Result<size_t> packed = deflate_block(cluster, room, kRawDeflate12);
      if (packed)
        TRY(write_packed(offset / block(), ConstBytes(room).first(*packed), 1));
      else if (packed.error().code == Errc::NoSpace)
        TRY(write(offset, part, {}));
      else
        return packed.error();
      from = from.subspan(part.size());
    }
    return {};
  }

 private:
  QcowImage(const Header& h, bool writable, const Child& file, const Child& backing,
            std::string backing_name)
      : SparseImage({h.size, h.cluster(), std::max(h.l1_end(), file->size())}, writable, file,
                    &backing),
        header_(h),
        backing_name_(std::move(backing_name)) {
    set_alignment(h.cluster());
  }
  u64 packed_shift() const { return 63 - header_.cluster_bits; }

  Result<u64> l2_table(u64 index) {
    const u64 at = header_.l1 + (index >> header_.l2_bits) * 8;
    const u64 table = load_be<u64>(TRY(roots_.at(at, 8)));
    if (table % 8 || table > u64{1} << 62)
      return fail(Errc::Corrupt, "An L2 table lies at {}", table);
    return table;
  }

  Result<Place> find(u64 index) override {
    const u64 within = index & (header_.l2_entries() - 1);
    const u64 table = TRY(l2_table(index));
    if (table == 0) return Place{.alike = header_.l2_entries() - within};
    const u64 entry = load_be<u64>(TRY(tables_.at(table + within * 8, 8)));
    if (entry == 0) return Place{};
    if (entry & kCompressed)
      return Place{.kind = Place::Kind::Packed,
                   .offset = entry & ((u64{1} << packed_shift()) - 1),
                   .packed = entry >> packed_shift() & (block() - 1)};
    if (entry > u64{1} << 62) return fail(Errc::Corrupt, "A cluster lies at {}", entry);
    return Place{.kind = Place::Kind::At, .offset = entry};
  }

  Result<void> record(u64 index, const Place& place) override {
    std::array<std::byte, 8> bytes;
    u64 table = TRY(l2_table(index));
    if (table == 0) {
      table = TRY(take_room(header_.l2_entries() * 8, block()));
      store_be<u64>(bytes, 0, table);
      TRY(roots_.store(header_.l1 + (index >> header_.l2_bits) * 8, bytes));
    }
    u64 entry = place.offset;
    if (place.kind == Place::Kind::Packed) entry |= kCompressed | place.packed << packed_shift();
    store_be<u64>(bytes, 0, entry);
    return tables_.store(table + (index & (header_.l2_entries() - 1)) * 8, bytes);
  }

  Result<void> unpack(const Place& place, Bytes cluster) override {
    std::vector<std::byte> packed(static_cast<size_t>(place.packed));
    TRY(file()->read_or_zero(place.offset, packed));
    return inflate_block(packed, cluster, kRawDeflate12);
  }

  // Configuration
  const Header header_;
  const std::string backing_name_;
};

int probe(ConstBytes head, std::string_view) {
  return head.size() >= kHeaderBytes && load_be<u32>(head, 0) == kMagic &&
                 load_be<u32>(head, kVersionAt) == kVersion
             ? 100
             : 0;
}

struct Create {
  std::optional<Size> size;
  std::string backing_file, backing_fmt;
  void describe(PropertyVisitor& p) {
    p.field("size", size, "size of the disk");
    p.field("backing_file", backing_file, "image that unwritten parts read from");
    p.field("backing_fmt", backing_fmt, "format of that image, which the header cannot keep");
  }
};

Result<void> create(CreateContext& context) {
  const Create options = TRY(context.read_options<Create>("qcow"));
  Header h;
  h.size = options.size ? options.size->bytes : context.size;
  const std::string& name = options.backing_file;
  if (name.size() > kLongestName)
    return fail(Errc::OutOfRange, "The backing image's name is longer than {} bytes", kLongestName);
  // Over a backing image small clusters copy less.
  if (!name.empty()) h.cluster_bits = 9, h.l2_bits = 12;
  h.l1 = (kHeaderBytes + name.size() + 7) & ~u64{7};
  if (h.size <= 1 || h.l1_entries() > kMostL1Entries)
    return fail(Errc::OutOfRange, "qcow has no disks of {} bytes", h.size);
  std::vector<std::byte> head(static_cast<size_t>(h.l1));
  store_be<u32>(head, 0, kMagic);
  store_be<u32>(head, kVersionAt, kVersion);
  store_be<u32>(head, kTimeAt, static_cast<u32>(::time(nullptr)));
  store_be<u64>(head, kSizeAt, h.size);
  store_be<u8>(head, kClusterBitsAt, static_cast<u8>(h.cluster_bits));
  store_be<u8>(head, kL2BitsAt, static_cast<u8>(h.l2_bits));
  store_be<u64>(head, kL1OffsetAt, h.l1);
  if (!name.empty()) {
    store_be<u64>(head, kBackingOffsetAt, kHeaderBytes);
    store_be<u32>(head, kBackingSizeAt, static_cast<u32>(name.size()));
    std::ranges::copy(bytes_of(name), head.begin() + kHeaderBytes);
  }
  Child file = TRY(attach_for_creation(context));
  TRY(file->truncate((h.l1_end() + 511) & ~u64{511}));
  return file->write(0, head);
}

}  // namespace

const Driver kQcowDriver{.name = "qcow",
                         .help = "QEMU's first copy-on-write format",
                         .kind = DriverKind::Format,
                         .probe = probe,
                         .open = QcowImage::open,
                         .create = create,
                         .create_options = properties_of<Create>,
                         .has_backing = true};

}  // namespace menura
