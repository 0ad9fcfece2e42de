#include "block/vmdk/vmdk_image.h"

#include <algorithm>
#include <cstring>

#include "base/bytes.h"
#include "base/random.h"
#include "base/units.h"
#include "block/core/filename.h"
#include "block/core/graph.h"
#include "block/vmdk/descriptor.h"
#include "block/vmdk/sparse_extent.h"

namespace menura::vmdk {

namespace {

// A window of a file, or zeroes where there is no file.
class FlatExtent final : public Image {
 public:
  FlatExtent(const Child* file, u64 offset, u64 size) : file_(file), offset_(offset), size_(size) {}
  u64 size() const override { return size_; }
  Result<Extent> map(u64 at, u64 length) override {
    if (!file_) return Extent{.kind = ExtentKind::Zero, .length = length};
    return (*file_)->map(at + offset_, length);
  }
  std::optional<Direct> peek(u64 at, u64 length) override {
    if (!file_) return Direct{.kind = Direct::Kind::Zero, .length = length};
    return (*file_)->peek(at + offset_, length);
  }
  Result<void> read(u64 at, Bytes to) override {
    if (file_) return (*file_)->read(at + offset_, to);
    std::memset(to.data(), 0, to.size());
    return {};
  }
  Result<void> write(u64 at, ConstBytes from, WriteMode mode) override {
    if (!file_) return fail(Errc::Permission, "This part of the disk is zeroes without a place");
    return (*file_)->write(at + offset_, from, mode);
  }
  Result<void> zero(u64 at, u64 length, WriteMode mode) override {
    return file_ ? (*file_)->zero(at + offset_, length, mode) : Result<void>();
  }
  Result<void> discard(u64 at, u64 length) override {
    return file_ ? (*file_)->discard(at + offset_, length) : Result<void>();
  }
  Result<void> flush() override { return file_ ? (*file_)->flush() : Result<void>(); }
  Result<void> reopen(bool) override { return {}; }

 private:
  const Child* file_;
  const u64 offset_, size_;
};

struct Part {
  u64 begin = 0, end = 0;  // of the disk
  std::unique_ptr<Image> image;
  const Child* file = nullptr;  // null: zeroes
  SparseExtent* sparse = nullptr;
};

class VmdkImage final : public Image {
 public:
  static Result<std::unique_ptr<Image>> open(OpenContext& context);

  u64 size() const override { return parts_.back().end; }
  Result<Extent> map(u64 offset, u64 length) override {
    Part& part = part_at(offset);
    return part.image->map(offset - part.begin, std::min(length, part.end - offset));
  }
  std::optional<Direct> peek(u64 offset, u64 length) override {
    Part& part = part_at(offset);
    auto direct = part.image->peek(offset - part.begin, std::min(length, part.end - offset));
    if (direct) direct->writable = direct->writable && renewed_.load(std::memory_order_acquire);
    return direct;
  }
  Result<void> read(u64 offset, Bytes to) override {
    return each(offset, to.size(), [&](Part& part, u64 at, u64 done, u64 length) {
      return part.image->read(at, to.subspan(static_cast<size_t>(done), length));
    });
  }
  Result<void> write(u64 offset, ConstBytes from, WriteMode) override {
    TRY(renew_cid());
    return each(offset, from.size(), [&](Part& part, u64 at, u64 done, u64 length) {
      return part.image->write(at, from.subspan(static_cast<size_t>(done), length), {});
    });
  }
  Result<void> write_compressed(u64 offset, ConstBytes from) override {
    TRY(renew_cid());
    return each(offset, from.size(), [&](Part& part, u64 at, u64 done, u64 length) {
      return part.image->write_compressed(at, from.subspan(static_cast<size_t>(done), length));
    });
  }
  Result<void> zero(u64 offset, u64 length, WriteMode mode) override {
    TRY(renew_cid());
    return each(offset, length, [&](Part& part, u64 at, u64, u64 here) {
      return part.image->zero(at, here, mode);
    });
  }
  Result<void> discard(u64 offset, u64 length) override {
    return each(offset, length,
                [](Part& part, u64 at, u64, u64 here) { return part.image->discard(at, here); });
  }
  Result<void> flush() override {
    for (Part& part : parts_) TRY(part.image->flush());
    return {};
  }
  Result<void> close() override {
    for (Part& part : parts_) TRY(part.image->close());
    return {};
  }
  Result<void> reopen(bool read_only) override {
    for (Part& part : parts_) TRY(part.image->reopen(read_only));
    return {};
  }
  bool has_zero_init() const override { return true; }
  std::optional<u64> allocated_size() override;
  ImageInfo info() override;
  Result<CheckReport> check(Repair repair) override;

 private:
  VmdkImage(Descriptor descriptor, std::string text, const Child& file)
      : descriptor_(std::move(descriptor)), text_(std::move(text)), file_(file) {}
  Result<void> open_parts(OpenContext& context, const Child* backing);
  Result<void> open_part(OpenContext& context, size_t index, const Child* backing);
  Result<void> renew_cid();
  Part& part_at(u64 offset) { return *std::ranges::upper_bound(parts_, offset, {}, &Part::end); }
  template <class Function>
  Result<void> each(u64 offset, u64 length, Function function) {
    for (u64 done = 0; done < length;) {
      Part& part = part_at(offset + done);
      const u64 here = std::min(length - done, part.end - offset - done);
      TRY(function(part, offset + done - part.begin, done, here));
      done += here;
    }
    return {};
  }

  // State
  Descriptor descriptor_;
  std::string text_;
  u64 text_at_ = 0;  // in file_
  const Child& file_;
  std::vector<Part> parts_;
  std::mutex renewing_;
  std::atomic<bool> renewed_ = false;
};

Result<std::string> read_text(const Child& file, u64 offset, u64 size) {
  std::string text(static_cast<size_t>(size), '\0');
  TRY(file->read_or_zero(offset, std::as_writable_bytes(std::span(text.data(), text.size()))),
      "Reading the descriptor");
  return text;
}

// Content written under another parent makes no sense over this one.
Result<void> check_parent(const Descriptor& descriptor, const Child& backing) {
  if (!backing || backing->driver().name != "vmdk") return {};
  const Value specific = backing->image().info().specific;
  const Value* data = specific.find("data");
  const Value* cid = data ? data->find("cid") : nullptr;
  if (!cid || !cid->as<u64>() || *cid->as<u64>() == descriptor.parent_cid) return {};
  return fail(Errc::Corrupt, "The parent '{}' has been written to since this disk was made of it",
              backing->filename());
}

Result<std::unique_ptr<Image>> VmdkImage::open(OpenContext& context) {
  ChildLink* link = TRY(context.child("file", ChildRole::Image));
  const Child& file = link->child;
  std::array<std::byte, 4> magic;
  TRY(file->read_or_zero(0, magic));
  std::optional<SparseHeader> header;
  std::string text;
  if (load_le<u32>(magic) == SparseHeader::kMagic) {
    header = TRY(SparseHeader::read(file));
    if (header->descriptor == 0)
      return fail(Errc::InvalidArgument,
                  "This is one extent of a disk, without the descriptor: open the disk's own file");
    text = TRY(read_text(file, header->descriptor * kSector, header->descriptor_sectors * kSector));
  } else {
    text = TRY(read_text(file, 0, std::min<u64>(file->size(), kLongestDescriptor)));
  }
  Descriptor descriptor = TRY(Descriptor::parse(text));
  std::unique_ptr<VmdkImage> image(new VmdkImage(std::move(descriptor), std::move(text), file));
  const Descriptor& d = image->descriptor_;
  const bool has_parent = d.parent_cid != kNoParent;
  if (has_parent && d.parent_file.empty())
    return fail(Errc::Corrupt, "The descriptor has a parent's ID, but not its name");
  ChildLink* backing = TRY(context.backing(has_parent ? d.parent_file : "", "vmdk"));
  TRY(check_parent(d, backing->child));
  if (header) {
    image->text_at_ = header->descriptor * kSector;
    Part part{0, header->capacity * kSector, nullptr, &file, nullptr};
    auto extent =
        std::make_unique<SparseExtent>(*header, !context.read_only(), file, &backing->child);
    part.sparse = extent.get();
    part.image = std::move(extent);
    image->parts_.push_back(std::move(part));
  } else {
    TRY(image->open_parts(context, &backing->child));
  }
  if (image->size() == 0) return fail(Errc::Corrupt, "The disk has no sectors");
  return std::unique_ptr<Image>(std::move(image));
}

Result<void> VmdkImage::open_parts(OpenContext& context, const Child* backing) {
  if (*backing && descriptor_.extents.size() > 1)
    return fail(Errc::Unsupported, "Disks of several extents cannot have a parent here");
  for (size_t i = 0; i < descriptor_.extents.size(); i++) {
    TRY(open_part(context, i, backing), "Extent {}", i);
    if (parts_.back().end > u64{1} << 62) return fail(Errc::Corrupt, "The disk is too large");
  }
  return {};
}

Result<void> VmdkImage::open_part(OpenContext& context, size_t index, const Child* backing) {
  const Descriptor::Extent& told = descriptor_.extents[index];
  Part part;
  part.begin = parts_.empty() ? 0 : parts_.back().end;
  const u64 size = told.sectors * kSector;
  part.end = part.begin + size;
  if (told.type == "ZERO") {
    part.image = std::make_unique<FlatExtent>(nullptr, 0, size);
    parts_.push_back(std::move(part));
    return {};
  }
  if (told.type != "FLAT" && told.type != "SPARSE")
    return fail(Errc::Unsupported, "Extents of type '{}' are not known here", told.type);
  if (told.file.find('/') != std::string::npos || !protocol_of(told.file).empty())
    return fail(Errc::Permission,
                "The descriptor names '{}': only files beside it are opened by their names there",
                told.file);
  ChildLink* link =
      TRY(context.named_child(format("extents.{}", index), ChildRole::Data, told.file, "file"));
  const Child& file = link->child;
  part.file = &file;
  if (told.type == "FLAT") {
    const u64 offset = told.offset * kSector;
    if (offset + size > file->size())
      return fail(Errc::Corrupt, "'{}' is shorter than the descriptor says", told.file);
    part.image = std::make_unique<FlatExtent>(&file, offset, size);
  } else {
    const SparseHeader header = TRY(SparseHeader::read(file));
    if (header.capacity < told.sectors)
      return fail(Errc::Corrupt, "'{}' holds fewer sectors than the descriptor says", told.file);
    auto extent = std::make_unique<SparseExtent>(
        header, !context.read_only(), file, descriptor_.extents.size() == 1 ? backing : nullptr);
    part.sparse = extent.get();
    part.image = std::move(extent);
  }
  parts_.push_back(std::move(part));
  return {};
}

// Disks made of this one know by the ID whether it is as it was.
Result<void> VmdkImage::renew_cid() {
  if (renewed_.load(std::memory_order_acquire)) return {};
  const std::lock_guard guard(renewing_);
  if (renewed_.load(std::memory_order_relaxed)) return {};
  u32 cid = 0;
  fill_random(std::as_writable_bytes(std::span(&cid, 1)));
  std::string text = with_cid(text_, cid);
  TRY(file_->write(text_at_, bytes_of(text)), "Renewing the descriptor's ID");
  text_ = std::move(text);
  descriptor_.cid = cid;
  renewed_.store(true, std::memory_order_release);
  return {};
}

std::optional<u64> VmdkImage::allocated_size() {
  u64 sum = file_->image().allocated_size().value_or(0);
  for (const Part& part : parts_)
    if (part.file && part.file != &file_) sum += (*part.file)->image().allocated_size().value_or(0);
  return sum;
}

ImageInfo VmdkImage::info() {
  ImageInfo info;
  Value extents = Value::list();
  for (size_t i = 0; i < parts_.size(); i++) {
    const Part& part = parts_[i];
    Value extent = Value::object();
    if (part.sparse) {
      if (info.cluster_size == 0) info.cluster_size = part.sparse->header().grain * kSector;
      info.compressed = info.compressed || part.sparse->is_compressed();
      extent.set("virtual-size", part.end - part.begin);
      extent.set("filename", (*part.file)->filename());
      extent.set("cluster-size", part.sparse->header().grain * kSector);
      extent.set("format", part.file == &file_ ? "" : "SPARSE");
    } else {
      extent.set("virtual-size", part.end - part.begin);
      extent.set("filename", part.file ? (*part.file)->filename() : std::string());
      extent.set("format", part.file ? "FLAT" : "ZERO");
    }
    if (part.sparse && part.sparse->is_compressed()) extent.set("compressed", true);
    extents.as<Value::List>()->push_back(std::move(extent));
  }
  if (descriptor_.parent_cid != kNoParent) info.backing_file = descriptor_.parent_file;
  Value data = Value::object();
  data.set("cid", u64{descriptor_.cid});
  data.set("parent-cid", u64{descriptor_.parent_cid});
  data.set("create-type", descriptor_.create_type);
  data.set("extents", std::move(extents));
  info.specific = Value::object();
  info.specific.set("type", "vmdk");
  info.specific.set("data", std::move(data));
  return info;
}

Result<CheckReport> VmdkImage::check(Repair repair) {
  CheckReport all;
  for (const Part& part : parts_) {
    if (!part.sparse) continue;
    CheckReport one = TRY(part.sparse->check(repair));
    all.corruptions += one.corruptions, all.corruptions_fixed += one.corruptions_fixed;
    all.check_errors += one.check_errors;
    all.total_clusters += one.total_clusters;
    all.allocated_clusters += one.allocated_clusters;
    all.fragmented_clusters += one.fragmented_clusters;
    all.compressed_clusters += one.compressed_clusters;
    all.image_end_offset = std::max(all.image_end_offset, one.image_end_offset);
    for (std::string& finding : one.findings) all.note(std::move(finding));
  }
  return all;
}

int probe(ConstBytes head, std::string_view) {
  if (head.size() >= 4 && load_le<u32>(head) == SparseHeader::kMagic) return 100;
  std::string_view text(reinterpret_cast<const char*>(head.data()), head.size());
  // Remarks and empty lines may precede the version.
  while (!text.empty()) {
    const std::string_view line = text.substr(0, text.find('\n'));
    if (line.starts_with("version=")) return 100;
    if (!line.empty() && line != "\r" && line[0] != '#') return 0;
    text.remove_prefix(std::min(text.size(), line.size() + 1));
  }
  return 0;
}

}  // namespace

}  // namespace menura::vmdk

namespace menura {

const Driver kVmdkDriver{.name = "vmdk",
                         .help = "VMware's virtual disk",
                         .kind = DriverKind::Format,
                         .probe = vmdk::probe,
                         .open = vmdk::VmdkImage::open,
                         .create = vmdk::create,
                         .create_options = properties_of<vmdk::CreateOptions>,
                         .has_backing = true};

}  // namespace menura
