#include <algorithm>
#include <array>

#include "base/bytes.h"
#include "base/log.h"
#include "block/core/graph.h"
#include "block/qcow2/bitmaps.h"
#include "block/qcow2/create.h"
#include "block/qcow2/qcow2_image.h"
#include "block/qcow2/snapshots.h"

namespace menura {

namespace qcow2 {

namespace {
constexpr std::string_view kOverlapChecks[] = {"none", "constant", "cached", "all"};
}

std::span<const std::string_view> enum_names(OverlapCheck) { return kOverlapChecks; }

void EncryptConfig::describe(PropertyVisitor& p) {
  p.field("format", format, "luks");
  p.field("key-secret", key_secret, "the object that holds the password");
}

void Config::describe(PropertyVisitor& p) {
  p.field("lazy-refcounts", lazy_refcounts, "postpone writing reference counts");
  p.field("pass-discard-request", pass_discard_request, "pass guest discards on to the file");
  p.field("pass-discard-snapshot", pass_discard_snapshot, "discard what a removed snapshot held");
  p.field("pass-discard-other", pass_discard_other, "discard when other clusters are freed");
  p.field("discard-no-unref", discard_no_unref, "keep the place of discarded clusters");
  p.field("overlap-check", overlap_check,
          "which metadata a write is checked against first: none; constant (what has a fixed "
          "place); cached (also tables of the active disk); all (also those of snapshots)");
  p.field("cache-size", cache_size, "memory for L2 tables and reference counts together");
  p.field("l2-cache-size", l2_cache_size, "memory for L2 tables");
  p.field("l2-cache-entry-size", l2_cache_entry_size, "bytes of a table read at once");
  p.field("refcount-cache-size", refcount_cache_size, "memory for reference counts");
  p.field("encrypt", encrypt, "how the content is decrypted");
}

namespace {

int probe(ConstBytes head, std::string_view) {
  return head.size() >= 8 && load_be<u32>(head, 0) == kMagic && load_be<u32>(head, 4) >= 2 ? 100
                                                                                           : 0;
}

u32 slice_size(const Header& header, const Config& config) {
  const u64 wanted = std::max<u64>(512, std::bit_floor(config.l2_cache_entry_size.bytes));
  return static_cast<u32>(std::min(wanted, header.cluster_size()));
}

size_t slices_in(u64 bytes, u32 slice) {
  return static_cast<size_t>(std::max<u64>(16, bytes / slice));
}

Result<Header> read_header(const Child& file) {
  std::vector<std::byte> head(104);
  const u64 size = file->size();
  TRY(file->read_or_zero(0, head));
  const u64 wanted = TRY(Header::wanted_bytes(head));
  head.resize(static_cast<size_t>(wanted));
  TRY(file->read_or_zero(0, head));
  return Header::parse(head, size);
}

}  // namespace

Qcow2Image::Qcow2Image(Header header, Config config, Node& node, const Child& file)
    : config_(std::move(config)),
      node_(node),
      file_(file),
      size_(header.size),
      header_(std::move(header)),
      l2_(file_, slice_size(header_, config_),
          slices_in(config_.l2_cache_size.bytes, slice_size(header_, config_)), "l2_load"),
      refcounts_(file_, header_, slices_in(config_.refcount_cache_size.bytes, 4096)) {}

Qcow2Image::~Qcow2Image() = default;

Result<std::unique_ptr<Image>> Qcow2Image::open(OpenContext& context) {
  ChildLink* file = TRY(context.child("file", ChildRole::Image));
  const auto config = TRY(context.options<Config>());
  Header header = TRY(read_header(file->child));
  std::unique_ptr<Qcow2Image> image(
      new Qcow2Image(std::move(header), config, context.node(), file->child));
  Header& h = image->header_;
  ChildLink* data = nullptr;
  if (h.has_data_file()) {
    if (h.data_file.empty())
      data = TRY(context.child("data-file", ChildRole::Data));
    else
      data = TRY(context.named_child("data-file", ChildRole::Data, h.data_file, "file"));
  }
  image->data_ = data ? &data->child : &file->child;
  ChildLink* backing = TRY(context.backing(h.backing_file, h.backing_format));
  image->backing_ = &backing->child;
  TRY(image->unlock(context));
  if (!context.read_only() && (h.incompatible & kCorrupt))
    TRY(context.fall_back_to_read_only(
        fail(Errc::Corrupt,
             "The image is marked corrupt: it can be read, or mended by `check -r all`")));
  TRY(image->load(!context.read_only()));
  return std::unique_ptr<Image>(std::move(image));
}

Result<void> Qcow2Image::unlock(OpenContext& context) {
  const EncryptConfig& how = config_.encrypt;
  if (!how.format.empty() && (how.format != "luks" || header_.crypt_method != kCryptLuks))
    return fail(Errc::InvalidArgument, "The image is not encrypted by '{}'", how.format);
  if (header_.crypt_method == 0) return {};
  if (header_.crypt_method != kCryptLuks)
    return fail(
        Errc::Unsupported,
        "The image is encrypted by qcow2's own AES, which protects nothing: convert it with "
        "a program that still reads it");
  if (!header_.crypto || header_.crypto->offset & (cluster_size() - 1))
    return fail(Errc::Corrupt,
                "The image is encrypted, but where its LUKS header is it does not say");
  luks_header_ = TRY(luks::LuksVolume::read_header(*file_, header_.crypto->offset));
  if (how.key_secret.empty()) {
    // Who only wants to know about it needs no password.
    if (context.no_io()) return {};
    return fail(Errc::InvalidArgument,
                "The image opens by a password: encrypt.key-secret= names the object with it");
  }
  const std::string password = TRY(context.graph().secrets().find(how.key_secret));
  volume_ = TRY(luks::LuksVolume::open(*file_, header_.crypto->offset, password));
  encrypted_.emplace(*data_, volume_->cipher(), 0);
  return {};
}

Result<void> Qcow2Image::load_l1(u64 offset, u64 entries) {
  std::vector<std::byte> bytes(static_cast<size_t>(entries * 8));
  TRY(file_->read_or_zero(offset, bytes), "Reading the L1 table");
  l1_.resize(static_cast<size_t>(entries));
  metadata_stale_ = true;
  for (size_t i = 0; i < l1_.size(); i++) l1_[i] = load_be<u64>(bytes, i * 8);
  return {};
}

Result<void> Qcow2Image::load(bool writable) {
  TRY(load_l1(header_.l1_offset, header_.l1_size));
  TRY(refcounts_.load());
  snapshots_ = TRY(Snapshots::load(*this));
  const u64 end = (file_->size() + cluster_size() - 1) & ~(cluster_size() - 1);
  // A device's bytes may be anything anywhere.
  refcounts_.set_fresh_from(file_->image().grows() ? end : ~u64{0});
  lazy_ =
      header_.version >= 3 && config_.lazy_refcounts.value_or(header_.compatible & kLazyRefcounts);
  if (writable) TRY(become_writable());
  return {};
}

Result<void> Qcow2Image::become_writable() {
  const Header before = header_;
  writable_ = true;
  header_.autoclear &= kBitmapsConsistent | kDataFileRaw;
  if (!header_.bitmaps) header_.autoclear &= ~kBitmapsConsistent;
  if (header_.incompatible & kDirty) {
    const CheckReport report = TRY(check(Repair::All), "Repairing a dirty image");
    if (report.corruptions > report.corruptions_fixed || report.check_errors)
      return fail(Errc::Corrupt, "The image was not closed properly, and could not be repaired");
  }
  if (header_.autoclear != before.autoclear) TRY(write_header());
  bitmaps_ = TRY(Bitmaps::load_recording(*this));
  return {};
}

Result<void> Qcow2Image::write_header() { return file_->write(0, TRY(header_.serialize())); }

Result<void> Qcow2Image::check_not_corrupt() const {
  if (header_.incompatible & kCorrupt)
    return fail(Errc::Corrupt, "The image has been marked corrupt");
  if (!writable_) return fail(Errc::Permission, "The image is read-only");
  return {};
}

Error Qcow2Image::mark_corrupt(std::string what) {
  log_error("qcow2: marking image '{}' as corrupt: {}", node_.filename(), what);
  if (header_.version >= 3) {
    header_.incompatible |= kCorrupt;
    if (Result<void> written = write_header(); !written)
      return std::move(written.error()).within(what);
  }
  return fail(Errc::Corrupt, "The image is corrupt: {}", what);
}

Result<void> Qcow2Image::reopen(bool read_only) {
  if (read_only) {
    TRY(close());
    writable_ = false;
    return {};
  }
  if (header_.incompatible & kCorrupt)
    return fail(Errc::Corrupt,
                "The image is marked corrupt: it can be read, or mended by `check -r all`");
  return become_writable();
}

Result<void> Qcow2Image::close() {
  if (!writable_) return {};
  if (bitmaps_) TRY(bitmaps_->store_all());
  TRY(commit());
  // Counting down made some counts dirty; with lazy counts it is all of them.
  const bool was_lazy = std::exchange(lazy_, false);
  TRY(commit());
  lazy_ = was_lazy;
  if (marked_dirty_) {
    TRY(file_->flush());
    header_.incompatible &= ~kDirty;
    TRY(write_header());
    marked_dirty_ = false;
  }
  return file_->flush();
}

bool Qcow2Image::has_zero_init() const {
  return header_.has_data_file() ? (*data_)->image().has_zero_init() : true;
}

// An external data file tells of its own.
std::optional<u64> Qcow2Image::allocated_size() { return file_->image().allocated_size(); }

ImageInfo Qcow2Image::info() {
  ImageInfo info;
  info.cluster_size = cluster_size();
  info.vm_state_offset = vm_state_offset();
  info.dirty = header_.incompatible & kDirty;
  info.corrupt = header_.incompatible & kCorrupt;
  info.encrypted = header_.crypt_method != 0;
  info.backing_file = header_.backing_file;
  info.backing_format = header_.backing_format;
  Value data = Value::object();
  data.set("compat", header_.version == 2 ? "0.10" : "1.1");
  data.set("compression-type",
           enum_names(header_.compression)[static_cast<size_t>(header_.compression)]);
  if (header_.version >= 3) {
    data.set("lazy-refcounts", (header_.compatible & kLazyRefcounts) != 0);
    Value bitmaps = Bitmaps::describe(*this);
    if (!bitmaps.as<Value::List>()->empty()) data.set("bitmaps", std::move(bitmaps));
    data.set("refcount-bits", u64{header_.refcount_bits()});
    if (header_.has_data_file()) {
      data.set("data-file", header_.data_file);
      data.set("data-file-raw", header_.data_file_is_raw());
      info.data_file = header_.data_file;
    }
    data.set("corrupt", info.corrupt);
    data.set("extended-l2", header_.extended_l2());
    if (luks_header_) {
      Value encrypt = luks::describe_header(*luks_header_);
      encrypt.set("format", "luks");
      data.set("encrypt", std::move(encrypt));
    }
  } else {
    data.set("refcount-bits", u64{header_.refcount_bits()});
  }
  info.specific = Value::object();
  info.specific.set("type", "qcow2");
  info.specific.set("data", std::move(data));
  return info;
}

SnapshotStore* Qcow2Image::snapshots() { return snapshots_.get(); }

Result<void> Qcow2Image::change_backing(const std::string& file, const std::string& format) {
  const Lock lock(meta_);
  TRY(check_not_corrupt());
  Header changed = header_;
  changed.backing_file = file;
  changed.backing_format = format;
  TRY(changed.serialize());
  header_ = std::move(changed);
  return write_header();
}

}  // namespace qcow2

const Driver kQcow2Driver{.name = "qcow2",
                          .help = "QEMU's image format: sparse, snapshots, compression",
                          .kind = DriverKind::Format,
                          .probe = qcow2::probe,
                          .open = qcow2::Qcow2Image::open,
                          .open_options = properties_of<qcow2::Config>,
                          .create = qcow2::create,
                          .create_options = properties_of<qcow2::CreateOptions>,
                          .measure = qcow2::measure,
                          .amend_options = properties_of<qcow2::AmendOptions>,
                          .has_backing = true};

}  // namespace menura
