// Parallels' expandable image, version 2. All integers are little-endian; names as in the document.
#include "block/parallels/parallels_image.h"

#include <algorithm>
#include <array>
#include <bit>

#include "base/bytes.h"
#include "base/units.h"
#include "block/core/graph.h"
#include "block/sparse/sparse_image.h"

namespace menura {

namespace {

constexpr std::string_view kMagicSectors = "WithoutFreeSpace";
constexpr std::string_view kMagicClusters = "WithouFreSpacExt";
constexpr u32 kVersion = 2;
constexpr u64 kHeaderBytes = 64;  // the BAT follows
constexpr u32 kInUse = 0x746f6e59;
constexpr u32 kClosed = 0x312e3276;
constexpr u64 kMaxBatBytes = 1 * GiB;
constexpr u64 kSector = 512;

enum Field : u32 {
  kVersionAt = 16,
  kHeadsAt = 20,
  kCylindersAt = 24,
  kTracksAt = 28,  // sectors of a cluster
  kBatEntriesAt = 32,
  kSectorsAt = 36,
  kInUseAt = 44,
  kDataOffsetAt = 48,
};

struct Header {
  bool counts_clusters = true;  // entries do, else sectors
  u64 cluster = 0;
  u32 entries = 0;
  u64 size = 0;
  u64 data = 0;  // where clusters may lie from
  bool in_use = false;

  u64 unit() const { return counts_clusters ? cluster : kSector; }

  static Result<Header> parse(ConstBytes head) {
    const std::string_view magic(reinterpret_cast<const char*>(head.data()), 16);
    if (magic != kMagicSectors && magic != kMagicClusters)
      return fail(Errc::Corrupt, "It does not begin as a Parallels image does");
    if (const u32 version = load_le<u32>(head, kVersionAt); version != kVersion)
      return fail(Errc::Unsupported, "Version {} of Parallels' format is not known", version);
    Header h;
    h.counts_clusters = magic == kMagicClusters;
    const u32 tracks = load_le<u32>(head, kTracksAt);
    h.cluster = tracks * kSector;
    if (!std::has_single_bit(tracks) || h.cluster > GiB)
      return fail(Errc::Corrupt, "Clusters of {} sectors are no power of two up to 1 GiB", tracks);
    h.entries = load_le<u32>(head, kBatEntriesAt);
    if (h.entries * u64{4} > kMaxBatBytes)
      return fail(Errc::OutOfRange, "{} clusters are more than an image may have", h.entries);
    u64 sectors = load_le<u64>(head, kSectorsAt);
    if (!h.counts_clusters) sectors &= 0xffffffff;
    if (sectors > h.entries * u64{tracks})
      return fail(Errc::Corrupt, "The table has no entries for all of the disk's {} sectors",
                  sectors);
    h.size = sectors * kSector;
    h.in_use = load_le<u32>(head, kInUseAt) == kInUse;
    const u64 table_end = (kHeaderBytes + u64{h.entries} * 4 + kSector - 1) / kSector * kSector;
    h.data = load_le<u32>(head, kDataOffsetAt) * kSector;
    // Old images do not say.
    if (h.data == 0) h.data = table_end;
    if (h.data < table_end) return fail(Errc::Corrupt, "The table reaches into the clusters");
    return h;
  }
};

class ParallelsImage final : public SparseImage {
 public:
  static Result<std::unique_ptr<Image>> open(OpenContext& context) {
    ChildLink* link = TRY(context.child("file", ChildRole::Image));
    const Child& file = link->child;
    std::array<std::byte, kHeaderBytes> head;
    TRY(file->read_or_zero(0, head));
    const Header header = TRY(Header::parse(head));
    std::unique_ptr<ParallelsImage> image(new ParallelsImage(header, !context.read_only(), file));
    if (header.in_use && !context.read_only()) TRY(image->look_after_crash(context));
    return std::unique_ptr<Image>(std::move(image));
  }
  ImageInfo info() override {
    ImageInfo info;
    info.dirty.reset();
    return info;
  }
  Result<CheckReport> check(Repair repair) override {
    CheckReport report = TRY(SparseImage::check(repair));
    if (header_.in_use && !in_use_by_us_) {
      report.corruptions++;
      report.note("The image was not closed by its last user");
      if (repair != Repair::None) {
        TRY(mark(kClosed));
        header_.in_use = false;
        report.corruptions_fixed++;
        TRY(commit());
      }
    }
    return report;
  }

 private:
  ParallelsImage(const Header& h, bool writable, const Child& file)
      : SparseImage({h.size, h.cluster, std::max(h.data, file->size()), true}, writable, file),
        header_(h) {
    set_alignment(h.unit());
  }
  static u64 entry_at(u64 index) { return kHeaderBytes + index * 4; }

  Result<void> look_after_crash(OpenContext& context) {
    const CheckReport report = TRY(SparseImage::check(Repair::None));
    if (report.corruptions == 0 && report.check_errors == 0) return {};
    return context.fall_back_to_read_only(
        fail(Errc::Corrupt, "The image was not closed, and needs `check -r all` before writes"));
  }

  Result<Place> find(u64 index) override {
    const u32 entry = load_le<u32>(TRY(tables_.at(entry_at(index), 4)));
    if (entry == 0) return Place{};
    return Place{.kind = Place::Kind::At, .offset = entry * header_.unit()};
  }
  Result<void> record(u64 index, const Place& place) override {
    std::array<std::byte, 4> bytes;
    store_le<u32>(bytes, 0, static_cast<u32>(place.offset / header_.unit()));
    return tables_.store(entry_at(index), bytes);
  }
  Result<u64> allocate(u64 index) override {
    if (end() / header_.unit() >= 0xffffffff - 1)
      return fail(Errc::NoSpace, "The table cannot lead to places beyond {}", end());
    return SparseImage::allocate(index);
  }
  Result<void> mark(u32 state) {
    std::array<std::byte, 4> bytes;
    store_le<u32>(bytes, 0, state);
    // The table begins in the same sector: it must not be older there than in memory.
    return tables_.store(kInUseAt, bytes);
  }
  Result<void> mark_in_use() override {
    TRY(mark(kInUse));
    std::array<std::byte, 4> bytes;
    store_le<u32>(bytes, 0, kInUse);
    TRY(file()->write(kInUseAt, bytes));
    in_use_by_us_ = true;
    return file()->flush();
  }
  Result<void> mark_closed() override {
    const std::lock_guard lock(meta_);
    in_use_by_us_ = false;
    header_.in_use = false;
    return mark(kClosed);
  }

  // State
  Header header_;
  bool in_use_by_us_ = false;
};

int probe(ConstBytes head, std::string_view) {
  if (head.size() < kHeaderBytes) return 0;
  const std::string_view magic(reinterpret_cast<const char*>(head.data()), 16);
  const bool known = magic == kMagicSectors || magic == kMagicClusters;
  return known && load_le<u32>(head, kVersionAt) == kVersion ? 100 : 0;
}

struct Create {
  std::optional<Size> size;
  Size cluster_size{1 * MiB};
  void describe(PropertyVisitor& p) {
    p.field("size", size, "size of the disk");
    p.field("cluster_size", cluster_size, "what is allocated at a time, a power of two");
  }
};

Result<void> create(CreateContext& context) {
  const Create options = TRY(context.read_options<Create>("parallels"));
  const u64 size = options.size ? options.size->bytes : context.size;
  const u64 cluster = options.cluster_size.bytes;
  if (!std::has_single_bit(cluster) || cluster < kSector || cluster > GiB)
    return fail(Errc::InvalidArgument, "cluster_size: {} is no power of two from 512 to 1G",
                cluster);
  const u64 entries = (size + cluster - 1) / cluster;
  if (entries > 0xfffffff0 - kMaxBatBytes / cluster || entries * 4 > kMaxBatBytes)
    return fail(Errc::OutOfRange, "A disk of {} bytes needs larger clusters than {}", size,
                cluster);
  const u64 data = (kHeaderBytes + entries * 4 + cluster - 1) / cluster * cluster;
  std::vector<std::byte> head(kSector);
  std::ranges::copy(bytes_of(kMagicClusters), head.begin());
  store_le<u32>(head, kVersionAt, kVersion);
  constexpr u32 kHeads = 16, kSectorsPerTrack = 32;
  store_le<u32>(head, kHeadsAt, kHeads);
  store_le<u32>(head, kCylindersAt, static_cast<u32>(size / kSector / kHeads / kSectorsPerTrack));
  store_le<u32>(head, kTracksAt, static_cast<u32>(cluster / kSector));
  store_le<u32>(head, kBatEntriesAt, static_cast<u32>(entries));
  store_le<u64>(head, kSectorsAt, (size + kSector - 1) / kSector);
  store_le<u32>(head, kDataOffsetAt, static_cast<u32>(data / kSector));
  Child file = TRY(attach_for_creation(context));
  TRY(file->truncate(data));
  return file->write(0, head);
}

}  // namespace

const Driver kParallelsDriver{.name = "parallels",
                              .help = "Parallels' expandable disk image",
                              .kind = DriverKind::Format,
                              .probe = probe,
                              .open = ParallelsImage::open,
                              .create = create,
                              .create_options = properties_of<Create>};

}  // namespace menura
