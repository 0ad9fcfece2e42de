// QED. All integers are little-endian; names as in the specification.
#include "block/qed/qed_image.h"

#include <algorithm>
#include <array>
#include <bit>

#include "base/bytes.h"
#include "base/units.h"
#include "block/core/graph.h"
#include "block/sparse/sparse_image.h"

namespace menura {

namespace {

constexpr u32 kMagic = 0x00444551;  // "QED\0"
constexpr u64 kHeaderBytes = 64;
constexpr u64 kBackingFile = 1, kNeedCheck = 2, kBackingIsRaw = 4;  // features
constexpr u64 kKnownFeatures = 7;
constexpr u64 kZeroCluster = 1;  // as an L2 entry
constexpr u32 kLongestName = 1023;

enum Field : u32 {
  kClusterSizeAt = 4,
  kTableSizeAt = 8,
  kHeaderSizeAt = 12,
  kFeaturesAt = 16,
  kAutoclearAt = 32,
  kL1OffsetAt = 40,
  kImageSizeAt = 48,
  kBackingOffsetAt = 56,
  kBackingSizeAt = 60,
};

struct Header {
  u64 cluster = 64 * KiB;
  u32 table_clusters = 4;
  u32 header_clusters = 1;
  u64 features = 0;
  u64 autoclear = 0;
  u64 l1 = 0;
  u64 size = 0;
  u32 backing_offset = 0, backing_size = 0;

  u64 table_bytes() const { return cluster * table_clusters; }
  u64 entries() const { return table_bytes() / 8; }
  u64 most() const {
    const u64 n = entries();
    return n > (u64{1} << 62) / cluster / n ? u64{1} << 62 : n * n * cluster;
  }

  Result<void> check() const {
    if (!std::has_single_bit(cluster) || cluster < 4 * KiB || cluster > 64 * MiB)
      return fail(Errc::Corrupt, "Clusters of {} bytes are no power of two from 4 KiB to 64 MiB",
                  cluster);
    if (!std::has_single_bit(table_clusters) || table_clusters > 16)
      return fail(Errc::Corrupt, "Tables of {} clusters are no power of two up to 16",
                  table_clusters);
    if (header_clusters == 0 || header_clusters * cluster > 64 * MiB)
      return fail(Errc::Corrupt, "A header of {} clusters is too large", header_clusters);
    if (size > most() || size % 512)
      return fail(Errc::Corrupt, "A disk of {} bytes does not fit these tables", size);
    return {};
  }

  static Result<Header> parse(ConstBytes head) {
    if (load_le<u32>(head, 0) != kMagic)
      return fail(Errc::Corrupt, "It does not begin as a QED image does");
    Header h;
    h.cluster = load_le<u32>(head, kClusterSizeAt);
    h.table_clusters = load_le<u32>(head, kTableSizeAt);
    h.header_clusters = load_le<u32>(head, kHeaderSizeAt);
    h.features = load_le<u64>(head, kFeaturesAt);
    h.autoclear = load_le<u64>(head, kAutoclearAt);
    h.l1 = load_le<u64>(head, kL1OffsetAt);
    h.size = load_le<u64>(head, kImageSizeAt);
    h.backing_offset = load_le<u32>(head, kBackingOffsetAt);
    h.backing_size = load_le<u32>(head, kBackingSizeAt);
    if (h.features & ~kKnownFeatures)
      return fail(Errc::Unsupported, "It uses QED features {:#x} that are not known",
                  h.features & ~kKnownFeatures);
    TRY(h.check());
    if (h.l1 % h.cluster || h.l1 < h.cluster || h.l1 > u64{1} << 62)
      return fail(Errc::Corrupt, "The L1 table lies at {}", h.l1);
    const u64 room = h.header_clusters * h.cluster;
    if ((h.features & kBackingFile) &&
        (h.backing_size > kLongestName || h.backing_offset > room - h.backing_size))
      return fail(Errc::Corrupt, "The backing image's name does not fit into the header");
    return h;
  }

  std::vector<std::byte> serialize() const {
    std::vector<std::byte> out(kHeaderBytes);
    store_le<u32>(out, 0, kMagic);
    store_le<u32>(out, kClusterSizeAt, static_cast<u32>(cluster));
    store_le<u32>(out, kTableSizeAt, table_clusters);
    store_le<u32>(out, kHeaderSizeAt, header_clusters);
    store_le<u64>(out, kFeaturesAt, features);
    store_le<u64>(out, kL1OffsetAt, l1);
    store_le<u64>(out, kImageSizeAt, size);
    store_le<u32>(out, kBackingOffsetAt, backing_offset);
    store_le<u32>(out, kBackingSizeAt, backing_size);
    return out;
  }
  // With the name of the backing image behind the fields; an empty one: none.
  Result<std::vector<std::byte>> with_backing(const std::string& file, const std::string& format) {
    features &= ~(kBackingFile | kBackingIsRaw);
    backing_offset = backing_size = 0;
    if (!file.empty()) {
      if (file.size() > kLongestName)
        return fail(Errc::OutOfRange, "The backing image's name is longer than {} bytes",
                    kLongestName);
      features |= kBackingFile | (format == "raw" ? kBackingIsRaw : 0);
      backing_offset = kHeaderBytes, backing_size = static_cast<u32>(file.size());
    }
    std::vector<std::byte> out = serialize();
    std::ranges::copy(bytes_of(file), std::back_inserter(out));
    return out;
  }
};

class QedImage final : public SparseImage {
 public:
  static Result<std::unique_ptr<Image>> open(OpenContext& context) {
    ChildLink* link = TRY(context.child("file", ChildRole::Image));
    const Child& file = link->child;
    std::array<std::byte, kHeaderBytes> head;
    TRY(file->read_or_zero(0, head));
    const Header header = TRY(Header::parse(head));
    std::string name;
    if (header.features & kBackingFile) {
      name.resize(header.backing_size);
      TRY(file->read_or_zero(header.backing_offset,
                             std::as_writable_bytes(std::span(name.data(), name.size()))));
    }
    const std::string format = header.features & kBackingIsRaw ? "raw" : "";
    ChildLink* backing = TRY(context.backing(name, format));
    std::unique_ptr<QedImage> image(
        new QedImage(header, !context.read_only(), file, backing->child, name));
    if ((header.features & kNeedCheck) && !context.read_only())
      TRY(image->look_after_crash(context));
    return std::unique_ptr<Image>(std::move(image));
  }

  ImageInfo info() override {
    ImageInfo info = SparseImage::info();
    info.dirty = header_.features & kNeedCheck;
    info.backing_file = backing_name_;
    if (header_.features & kBackingIsRaw) info.backing_format = "raw";
    return info;
  }

  Result<void> truncate(u64 size, Preallocation preallocation) override {
    const u64 before = this->size();
    if (preallocation != Preallocation::Off)
      return fail(Errc::Unsupported, "QED images are made larger without preallocation only");
    if (size < before) return fail(Errc::Unsupported, "QED images cannot be made smaller");
    if (size > header_.most() || size % 512)
      return fail(Errc::OutOfRange, "A disk of {} bytes does not fit the image's tables", size);
    {
      const std::lock_guard lock(meta_);
      header_.size = size;
      TRY(store_header());
      set_size(size);
    }
    // A longer backing image must not show.
    const u64 below = backing_ ? backing_->size() : 0;
    if (backing_ && below > before) TRY(zero(before, std::min(below, size) - before, {}));
    return commit();
  }

  Result<void> change_backing(const std::string& file, const std::string& format) override {
    Header changed = header_;
    const std::vector<std::byte> head = TRY(changed.with_backing(file, format));
    if (head.size() > header_.header_clusters * header_.cluster)
      return fail(Errc::NoSpace, "The backing image's name does not fit into the header");
    {
      const std::lock_guard lock(meta_);
      header_ = changed;
      backing_name_ = file;
      TRY(roots_.store(0, head));
    }
    return commit();
  }

  Result<CheckReport> check(Repair repair) override {
    CheckReport report = TRY(SparseImage::check(repair));
    if ((header_.features & kNeedCheck) && repair != Repair::None &&
        report.corruptions == report.corruptions_fixed) {
      header_.features &= ~kNeedCheck;
      TRY(store_header());
      TRY(commit());
    }
    return report;
  }

 private:
  QedImage(const Header& h, bool writable, const Child& file, const Child& backing,
           std::string backing_name)
      : SparseImage({h.size, h.cluster, std::max(h.l1 + h.table_bytes(), file->size())}, writable,
                    file, &backing),
        backing_(backing),
        header_(h),
        backing_name_(std::move(backing_name)) {
    set_alignment(h.cluster);
  }

  Result<void> look_after_crash(OpenContext& context) {
    const CheckReport report = TRY(SparseImage::check(Repair::None));
    if (report.corruptions || report.check_errors)
      return context.fall_back_to_read_only(
          fail(Errc::Corrupt, "The image was not closed, and needs `check -r all` before writes"));
    header_.features &= ~kNeedCheck;
    return store_header();
  }
  Result<void> store_header() { return roots_.store(0, header_.serialize()); }

  // A table's or cluster's place; 0: none.
  Result<u64> checked(u64 offset, std::string_view what) const {
    if (offset % header_.cluster || offset > u64{1} << 62)
      return fail(Errc::Corrupt, "{} at {} is not aligned to clusters", what, offset);
    return offset;
  }
  Result<u64> l2_table(u64 index) {
    const u64 at = header_.l1 + index / header_.entries() * 8;
    return checked(load_le<u64>(TRY(roots_.at(at, 8))), "An L2 table");
  }

  Result<Place> find(u64 index) override {
    const u64 within = index % header_.entries();
    const u64 table = TRY(l2_table(index));
    if (table == 0) return Place{.alike = header_.entries() - within};
    const u64 entry = load_le<u64>(TRY(tables_.at(table + within * 8, 8)));
    if (entry == 0) return Place{};
    if (entry == kZeroCluster) return Place{.kind = Place::Kind::Zero};
    return Place{.kind = Place::Kind::At, .offset = TRY(checked(entry, "A cluster"))};
  }

  Result<void> record(u64 index, const Place& place) override {
    std::array<std::byte, 8> bytes;
    u64 table = TRY(l2_table(index));
    if (table == 0) {
      table = TRY(take_room(header_.table_bytes(), header_.cluster));
      store_le<u64>(bytes, 0, table);
      TRY(roots_.store(header_.l1 + index / header_.entries() * 8, bytes));
    }
    u64 entry = 0;
    if (place.kind == Place::Kind::Zero) entry = kZeroCluster;
    if (place.kind == Place::Kind::At) entry = place.offset;
    store_le<u64>(bytes, 0, entry);
    return tables_.store(table + index % header_.entries() * 8, bytes);
  }
  bool marks_zero() const override { return true; }
  // What other programs marked is out of date now.
  Result<void> mark_in_use() override {
    if (header_.autoclear == 0) return {};
    header_.autoclear = 0;
    return store_header();
  }

  // Wiring
  const Child& backing_;
  // State
  Header header_;
  std::string backing_name_;
};

int probe(ConstBytes head, std::string_view) {
  return head.size() >= kHeaderBytes && load_le<u32>(head, 0) == kMagic ? 100 : 0;
}

struct Create {
  std::optional<Size> size;
  std::string backing_file, backing_fmt;
  Size cluster_size{64 * KiB};
  u32 table_size = 4;
  void describe(PropertyVisitor& p) {
    p.field("size", size, "size of the disk");
    p.field("backing_file", backing_file, "image that unwritten parts read from");
    p.field("backing_fmt", backing_fmt, "format of that image");
    p.field("cluster_size", cluster_size, "what is allocated at a time: 4k to 64M");
    p.field("table_size", table_size, "clusters of a table: 1, 2, 4, 8 or 16");
  }
};

Result<void> create(CreateContext& context) {
  const Create options = TRY(context.read_options<Create>("qed"));
  Header h;
  h.size = options.size ? options.size->bytes : context.size;
  h.cluster = options.cluster_size.bytes;
  h.table_clusters = options.table_size;
  TRY(h.check(), "The options of a QED image");
  h.l1 = h.cluster;
  const std::vector<std::byte> head =
      TRY(h.with_backing(options.backing_file, options.backing_fmt));
  Child file = TRY(attach_for_creation(context));
  TRY(file->truncate(h.l1 + h.table_bytes()));
  return file->write(0, head);
}

}  // namespace

const Driver kQedDriver{.name = "qed",
                        .help = "QEMU's Enhanced Disk: sparse, with backing images",
                        .kind = DriverKind::Format,
                        .probe = probe,
                        .open = QedImage::open,
                        .create = create,
                        .create_options = properties_of<Create>,
                        .has_backing = true};

}  // namespace menura
