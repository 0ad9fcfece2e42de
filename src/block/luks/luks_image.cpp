#include "block/luks/luks_image.h"

#include <algorithm>
#include <cstring>

#include "base/units.h"
#include "block/core/graph.h"
#include "block/luks/encrypted_file.h"
#include "block/luks/luks_volume.h"

namespace menura::luks {

namespace {

constexpr u64 kChunk = 1 * MiB;

struct Config {
  std::optional<std::string> key_secret;
  void describe(PropertyVisitor& p) {
    p.field("key-secret", key_secret, "the object that holds the password");
  }
};

class LuksImage final : public Image {
 public:
  static Result<std::unique_ptr<Image>> open(OpenContext& context) {
    ChildLink* link = TRY(context.child("file", ChildRole::Image));
    const Child& file = link->child;
    const auto config = TRY(context.options<Config>());
    if (!config.key_secret) {
      // Who only wants to know about it needs no password.
      if (!context.no_io())
        return fail(Errc::InvalidArgument,
                    "A LUKS image opens by a password: key-secret= names the object with it");
      LuksHeader header = TRY(LuksVolume::read_header(*file, 0));
      return std::unique_ptr<Image>(new LuksImage(std::move(header), {}, file));
    }
    const std::string password = TRY(context.graph().secrets().find(*config.key_secret));
    LuksVolume volume = TRY(LuksVolume::open(*file, 0, password));
    LuksHeader header = volume.header();
    if (header.payload_offset() > file->size())
      return fail(Errc::Corrupt, "The file ends before the payload begins");
    return std::unique_ptr<Image>(new LuksImage(std::move(header), std::move(volume), file));
  }

  u64 size() const override {
    const u64 whole = (*file_)->size();
    return whole - std::min(whole, payload());
  }
  Result<Extent> map(u64, u64 length) override { return Extent{.length = length}; }
  Result<void> read(u64 offset, Bytes to) override { return TRY(data())->read(offset, to); }
  Result<void> write(u64 offset, ConstBytes from, WriteMode) override {
    return TRY(data())->write(offset, from);
  }
  Result<void> flush() override { return (*file_)->flush(); }
  Result<void> truncate(u64 size, Preallocation preallocation) override;
  std::optional<u64> allocated_size() override { return (*file_)->image().allocated_size(); }
  Result<void> reopen(bool) override { return {}; }
  ImageInfo info() override {
    ImageInfo info;
    info.encrypted = true;
    info.specific = Value::object();
    info.specific.set("type", "luks");
    info.specific.set("data", describe_header(header_));
    return info;
  }

 private:
  LuksImage(LuksHeader header, std::optional<LuksVolume> volume, const Child& file)
      : header_(std::move(header)), volume_(std::move(volume)), file_(&file) {
    if (volume_) data_.emplace(file, volume_->cipher(), payload());
  }
  u64 payload() const { return header_.payload_offset(); }
  Result<EncryptedFile*> data() {
    if (data_) return &*data_;
    return fail(Errc::Permission, "The image was opened without its password");
  }

  // Configuration
  const LuksHeader header_;
  // Wiring
  const std::optional<LuksVolume> volume_;
  const Child* file_;
  std::optional<EncryptedFile> data_;
};

// What is new must read as zeroes: so it is written, since zeroes of the file would be noise.
Result<void> LuksImage::truncate(u64 size, Preallocation preallocation) {
  if (size % kSector)
    return fail(Errc::InvalidArgument, "An encrypted disk has whole sectors, not {} bytes", size);
  const u64 before = this->size();
  EncryptedFile* data = TRY(this->data());
  TRY((*file_)->truncate(payload() + size, preallocation));
  const std::vector<std::byte> zeroes(static_cast<size_t>(kChunk));
  for (u64 at = before; at < size; at += kChunk)
    TRY(data->write(at,
                    ConstBytes(zeroes).first(static_cast<size_t>(std::min(size - at, kChunk)))));
  return {};
}

int probe(ConstBytes head, std::string_view) {
  return head.size() >= LuksHeader::kBytes && std::memcmp(head.data(), "LUKS\xba\xbe\0\1", 8) == 0
             ? 100
             : 0;
}

struct Create : LuksOptions {
  std::optional<Size> size;
  Preallocation preallocation = Preallocation::Off;
  void describe(PropertyVisitor& p) {
    p.field("size", size, "size of the disk");
    LuksOptions::describe(p);
    p.field("preallocation", preallocation, "off, falloc or full");
  }
};

Result<void> create(CreateContext& context) {
  const Create options = TRY(context.read_options<Create>("luks"));
  const u64 size = options.size ? options.size->bytes : context.size;
  if (size % kSector)
    return fail(Errc::InvalidArgument, "An encrypted disk has whole sectors, not {} bytes", size);
  const LuksVolume::Made made = TRY(LuksVolume::make(options, context.graph));
  const Child file = TRY(Child::attach(
      context.file,
      {"the creation", "file", {kConsistentRead | kWrite | kResize, kConsistentRead}}));
  TRY(file->truncate(made.header.payload_offset() + size, options.preallocation));
  return file->write(0, made.bytes);
}

Result<Measure> measure(const MeasureContext& context) {
  Create options;
  TRY(read_properties(options, context.options, "luks"));
  const u64 whole = TRY(options.header()).payload_offset() + context.size;
  return Measure{whole, whole, {}};
}

}  // namespace

}  // namespace menura::luks

namespace menura {

const Driver kLuksDriver{.name = "luks",
                         .help = "an encrypted disk, LUKS version 1",
                         .kind = DriverKind::Format,
                         .probe = luks::probe,
                         .open = luks::LuksImage::open,
                         .open_options = properties_of<luks::Config>,
                         .create = luks::create,
                         .create_options = properties_of<luks::Create>,
                         .measure = luks::measure};

}  // namespace menura
