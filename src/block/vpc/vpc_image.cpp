#include "block/vpc/vpc_image.h"

#include <algorithm>
#include <array>

#include "base/bytes.h"
#include "block/core/graph.h"
#include "block/sparse/sparse_image.h"
#include "block/vpc/vpc_format.h"

namespace menura {

namespace vpc {
namespace {

// The disk's bytes from the beginning of the file, the footer behind them.
class FixedImage final : public Image {
 public:
  FixedImage(u64 size, const Child& file) : size_(size), file_(&file) {}
  u64 size() const override { return size_; }
  Result<Extent> map(u64 at, u64 length) override { return (*file_)->map(at, length); }
  std::optional<Direct> peek(u64 at, u64 length) override { return (*file_)->peek(at, length); }
  Result<void> read(u64 at, Bytes to) override { return (*file_)->read(at, to); }
  Result<void> write(u64 at, ConstBytes from, WriteMode mode) override {
    return (*file_)->write(at, from, mode);
  }
  Result<void> zero(u64 at, u64 length, WriteMode mode) override {
    mode.no_fallback = true;  // the node above has the fallback
    return (*file_)->zero(at, length, mode);
  }
  Result<void> discard(u64 at, u64 length) override { return (*file_)->discard(at, length); }
  Result<void> flush() override { return (*file_)->flush(); }
  bool supports_fua() const override { return true; }
  bool has_zero_init() const override { return (*file_)->image().has_zero_init(); }
  std::optional<u64> allocated_size() override { return (*file_)->image().allocated_size(); }
  Result<void> reopen(bool) override { return {}; }

 private:
  const u64 size_;
  const Child* file_;
};

class DynamicImage final : public SparseImage {
 public:
  // `footer` as it stands in the file.
  DynamicImage(u64 size, const DynamicHeader& h, std::vector<std::byte> footer, u64 end,
               bool writable, const Child& file)
      : SparseImage({size, h.block_size, end}, writable, file),
        header_(h),
        footer_(std::move(footer)) {}

 private:
  u64 entry_at(u64 index) const { return header_.table_offset + index * 4; }

  Result<Place> find(u64 index) override {
    const u32 entry = load_be<u32>(TRY(tables_.at(entry_at(index), 4)));
    if (entry == kUnused) return Place{};
    return Place{.kind = Place::Kind::At, .offset = entry * kSector + header_.bitmap_size()};
  }
  Result<void> record(u64 index, const Place& place) override {
    std::array<std::byte, 4> bytes;
    const bool there = place.kind == Place::Kind::At;
    store_be<u32>(
        bytes, 0,
        there ? static_cast<u32>((place.offset - header_.bitmap_size()) / kSector) : kUnused);
    return tables_.store(entry_at(index), bytes);
  }
  Result<u64> allocate(u64) override {
    const u64 bitmap = header_.bitmap_size();
    if (end() / kSector >= kUnused)
      return fail(Errc::NoSpace, "The table cannot lead to places beyond {}", end());
    const u64 at = TRY(take_room(bitmap + block(), kSector));
    // Every sector counts as written: those that were not are zeroes.
    const std::vector<std::byte> ones(static_cast<size_t>(bitmap), std::byte{0xff});
    TRY(file()->write(at, ones));
    return at + bitmap;
  }
  Result<void> write_pieces(const std::vector<TablePages::Piece>& tables,
                            const std::vector<TablePages::Piece>& roots) override {
    u64 behind = 0;
    {
      const std::lock_guard lock(meta_);
      behind = end();
    }
    TRY(file()->write(behind, footer_));
    return SparseImage::write_pieces(tables, roots);
  }

  // Configuration
  const DynamicHeader header_;
  const std::vector<std::byte> footer_;
};

Result<std::unique_ptr<Image>> open_dynamic(const Footer& footer, ConstBytes sector, bool writable,
                                            const Child& file) {
  if (footer.data_offset > u64{1} << 62 || footer.data_offset % kSector)
    return fail(Errc::Corrupt, "The dynamic disk's header lies at {}", footer.data_offset);
  std::array<std::byte, DynamicHeader::kBytes> bytes;
  TRY(file->read_or_zero(footer.data_offset, bytes));
  const DynamicHeader header = TRY(DynamicHeader::parse(bytes));
  const u64 size = footer.disk_size();
  if (size > u64{header.entries} * header.block_size)
    return fail(Errc::Corrupt, "The table has {} entries, too few for a disk of {} bytes",
                header.entries, size);
  const u64 whole = file->size();
  const u64 least =
      header.table_offset + (u64{header.entries} * 4 + kSector - 1) / kSector * kSector;
  u64 end = std::max(least, whole / kSector * kSector);
  std::array<std::byte, Footer::kBytes> last{};
  if (whole >= least + kSector) TRY(file->read(whole / kSector * kSector - kSector, last));
  if (Footer::parse(last)) end -= kSector;  // the footer moves as the file grows
  return std::unique_ptr<Image>(
      new DynamicImage(size, header, {sector.begin(), sector.end()}, end, writable, file));
}

Result<std::unique_ptr<Image>> open(OpenContext& context) {
  ChildLink* link = TRY(context.child("file", ChildRole::Image));
  const Child& file = link->child;
  std::array<std::byte, Footer::kBytes> sector;
  TRY(file->read_or_zero(0, sector));
  Result<Footer> footer = Footer::parse(sector);
  if (footer && footer->type == DiskType::Dynamic)
    return open_dynamic(*footer, sector, !context.read_only(), file);
  if (!footer && footer.error().code == Errc::Unsupported) return std::move(footer.error());
  const u64 whole = file->size();
  if (whole < Footer::kBytes) return fail(Errc::Corrupt, "The file is too short for a VHD disk");
  const u64 behind = (whole - Footer::kBytes) / kSector * kSector;
  TRY(file->read(behind, sector));
  const Footer fixed = TRY(Footer::parse(sector));
  if (fixed.type == DiskType::Dynamic)
    return open_dynamic(fixed, sector, !context.read_only(), file);
  if (fixed.disk_size() > behind)
    return fail(Errc::Corrupt, "The fixed disk has {} bytes, the file {} before its footer",
                fixed.disk_size(), behind);
  return std::unique_ptr<Image>(std::make_unique<FixedImage>(fixed.disk_size(), file));
}

int probe(ConstBytes head, std::string_view) {
  return head.size() >= Footer::kBytes && Footer::parse(head.first(Footer::kBytes)) ? 100 : 0;
}

enum class Subformat : u8 { Dynamic, Fixed };
constexpr std::string_view kSubformats[] = {"dynamic", "fixed"};
std::span<const std::string_view> enum_names(Subformat) { return kSubformats; }

struct Create {
  std::optional<Size> size;
  Subformat subformat = Subformat::Dynamic;
  bool force_size = false;
  void describe(PropertyVisitor& p) {
    p.field("size", size, "size of the disk");
    p.field("subformat", subformat, "dynamic: grows as it is written; fixed: has all its space");
    p.field("force_size", force_size,
            "exactly the size asked for, not one that cylinders, heads and sectors can tell");
  }
};

// The smallest disk that holds so many bytes and that cylinders, heads and sectors can tell.
Result<Footer> footer_for(const Create& options, u64 size) {
  Footer footer;
  footer.creator = "mnra";
  const u64 sectors = (size + kSector - 1) / kSector;
  if (sectors * kSector > kLargestDisk)
    return fail(Errc::OutOfRange, "A VHD disk holds 2040 GiB at most");
  if (options.force_size || sectors > Geometry::largest().product()) {
    footer.geometry = Geometry::largest();
    footer.current_size = sectors * kSector;
    return footer;
  }
  for (u64 more = 0; footer.geometry.product() < sectors; more++)
    footer.geometry = Geometry::of(sectors + more);
  footer.current_size = footer.geometry.product() * kSector;
  return footer;
}

Result<void> create(CreateContext& context) {
  const Create options = TRY(context.read_options<Create>("vpc"));
  Footer footer = TRY(footer_for(options, options.size ? options.size->bytes : context.size));
  Child file = TRY(attach_for_creation(context));
  if (options.subformat == Subformat::Fixed) {
    footer.type = DiskType::Fixed;
    TRY(file->truncate(footer.current_size));
    return file->write(footer.current_size, footer.serialize());
  }
  footer.data_offset = Footer::kBytes;
  DynamicHeader header;
  header.table_offset = Footer::kBytes + DynamicHeader::kBytes;
  header.entries =
      static_cast<u32>((footer.current_size + header.block_size - 1) / header.block_size);
  const u64 table = (header.entries * u64{4} + kSector - 1) / kSector * kSector;
  const std::vector<std::byte> unused(static_cast<size_t>(table), std::byte{0xff});
  const std::vector<std::byte> bytes = footer.serialize();
  TRY(file->write(header.table_offset, unused));
  TRY(file->write(header.table_offset + table, bytes));
  TRY(file->write(Footer::kBytes, header.serialize()));
  return file->write(0, bytes);
}

}  // namespace
}  // namespace vpc

const Driver kVpcDriver{.name = "vpc",
                        .help = "Virtual PC's and Hyper-V's disk image, VHD",
                        .kind = DriverKind::Format,
                        .probe = vpc::probe,
                        .open = vpc::open,
                        .create = vpc::create,
                        .create_options = properties_of<vpc::Create>};

}  // namespace menura
