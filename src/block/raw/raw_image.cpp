#include "block/raw/raw_image.h"

#include <algorithm>

#include "block/core/graph.h"

namespace menura {

namespace {

struct RawConfig {
  Size offset;
  std::optional<Size> size;
  void describe(PropertyVisitor& p) {
    p.field("offset", offset, "where the disk begins in the file");
    p.field("size", size, "size of the disk");
  }
};

class RawImage final : public Image {
 public:
  static Result<std::unique_ptr<Image>> open(OpenContext& context);

  u64 size() const override {
    if (config_.size) return config_.size->bytes;
    const u64 whole = (*file_)->size();
    return whole - std::min(whole, offset());
  }
  Result<Extent> map(u64 at, u64 length) override { return (*file_)->map(at + offset(), length); }
  std::optional<Direct> peek(u64 at, u64 length) override {
    return (*file_)->peek(at + offset(), length);
  }
  Result<void> read(u64 at, Bytes to) override { return (*file_)->read(at + offset(), to); }
  Result<void> write(u64 at, ConstBytes from, WriteMode mode) override {
    return (*file_)->write(at + offset(), from, mode);
  }
  Result<void> zero(u64 at, u64 length, WriteMode mode) override {
    mode.no_fallback = true;  // the node above has the fallback
    return (*file_)->zero(at + offset(), length, mode);
  }
  Result<void> discard(u64 at, u64 length) override {
    return (*file_)->discard(at + offset(), length);
  }
  Result<void> flush() override { return (*file_)->flush(); }
  Result<void> truncate(u64 size, Preallocation preallocation) override;
  bool supports_fua() const override { return true; }
  bool has_zero_init() const override { return (*file_)->image().has_zero_init(); }
  std::optional<u64> allocated_size() override { return (*file_)->image().allocated_size(); }
  Result<void> reopen(bool) override { return {}; }

 private:
  RawImage(const RawConfig& config, const Child& file) : config_(config), file_(&file) {}
  u64 offset() const { return config_.offset.bytes; }

  const RawConfig config_;
  const Child* file_;
};

Result<std::unique_ptr<Image>> RawImage::open(OpenContext& context) {
  ChildLink* file = TRY(context.child("file", ChildRole::Filtered));
  const auto config = TRY(context.options<RawConfig>());
  const u64 whole = file->child->size();
  if (config.offset.bytes > whole)
    return fail(Errc::InvalidArgument, "Offset {} lies beyond the {} bytes of the file",
                config.offset.bytes, whole);
  if (config.size && config.size->bytes > whole - config.offset.bytes)
    return fail(Errc::InvalidArgument,
                "Offset {} and size {} reach beyond the {} bytes of the file", config.offset.bytes,
                config.size->bytes, whole);
  return std::unique_ptr<Image>(new RawImage(config, file->child));
}

Result<void> RawImage::truncate(u64 size, Preallocation preallocation) {
  if (config_.size)
    return fail(Errc::Unsupported, "A raw disk of a fixed size keeps it: it is a part of its file");
  const u64 limit = ~u64{0} >> 1;
  if (size > limit - offset())
    return fail(Errc::OutOfRange, "Disk size {} is too large for an offset of {}", size, offset());
  return (*file_)->truncate(size + offset(), preallocation);
}

Result<void> create_raw(CreateContext& context) {
  const NodePtr made =
      TRY(context.graph.create_file(context.filename, context.size, std::move(context.options)));
  return {};
}

struct RawCreate {
  Preallocation preallocation = Preallocation::Off;
  bool nocow = false;
  Size extent_size_hint{1 << 20};
  void describe(PropertyVisitor& p) {
    p.field("preallocation", preallocation, "off, falloc (give space), full (write zeroes)");
    p.field("nocow", nocow, "overwrite in place on btrfs, instead of copying");
    p.field("extent_size_hint", extent_size_hint, "space that XFS takes at a time");
  }
};

Result<Measure> measure_raw(const MeasureContext& context) {
  return Measure{context.size, context.size, {}};
}

}  // namespace

const Driver kRawDriver{.name = "raw",
                        .help = "plain bytes",
                        .kind = DriverKind::Format,
                        .open = RawImage::open,
                        .open_options = properties_of<RawConfig>,
                        .create = create_raw,
                        .create_options = properties_of<RawCreate>,
                        .measure = measure_raw,
                        .makes_own_files = true};

}  // namespace menura
