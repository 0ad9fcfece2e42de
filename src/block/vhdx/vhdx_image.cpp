#include "block/vhdx/vhdx_image.h"

#include <algorithm>
#include <cstring>

#include "base/bytes.h"
#include "block/core/graph.h"
#include "block/sparse/sparse_image.h"
#include "block/vhdx/log.h"

namespace menura::vhdx {

namespace {

constexpr std::string_view kFileType = "vhdxfile";

class VhdxImage final : public SparseImage {
 public:
  static Result<std::unique_ptr<Image>> open(OpenContext& context) {
    ChildLink* link = TRY(context.child("file", ChildRole::Image));
    const Child& file = link->child;
    std::array<std::byte, kFileType.size()> type;
    TRY(file->read_or_zero(0, type));
    if (!std::ranges::equal(type, bytes_of(kFileType)))
      return fail(Errc::Corrupt, "It does not begin as a VHDX image does");
    Headers headers = TRY(Headers::read(*file));
    const bool replayed = TRY(settle_log(context, *file, headers));
    const DiskLayout layout = TRY(DiskLayout::read(*file));
    std::unique_ptr<VhdxImage> image(new VhdxImage(headers, layout, !context.read_only(), file));
    image->replayed_ = replayed;
    return std::unique_ptr<Image>(std::move(image));
  }

  Result<CheckReport> check(Repair repair) override {
    CheckReport report = TRY(SparseImage::check(repair));
    if (replayed_) {
      report.corruptions++, report.corruptions_fixed++;
      report.note("The log had metadata that were not written: they are now");
    }
    return report;
  }

 private:
  VhdxImage(const Headers& headers, const DiskLayout& layout, bool writable, const Child& file)
      : SparseImage({layout.disk_size, layout.block, std::max(layout.end, log_end(headers, file))},
                    writable, file),
        layout_(layout),
        headers_(headers) {
    set_alignment(MiB);
  }
  static u64 log_end(const Headers& headers, const Child& file) {
    return std::max(headers.now.log_offset + headers.now.log_length, file->size());
  }
  static Result<bool> settle_log(OpenContext& context, Node& file, Headers& headers) {
    if (headers.now.log == Guid{}) return false;
    if (context.read_only()) {
      if (!TRY(has_log(file, headers.now))) return false;
      return fail(Errc::Permission,
                  "The image was not closed, and what its log has must be written before it can be "
                  "read: open it writable once, as `check -r all` does");
    }
    const bool replayed = TRY(replay_log(file, headers.now));
    headers.now.log = {};
    TRY(headers.write(file));
    return replayed;
  }
  u64 entry_at(u64 index) const { return layout_.bat + layout_.bat_index(index) * 8; }

  Result<Place> find(u64 index) override {
    const u64 entry = load_le<u64>(TRY(tables_.at(entry_at(index), 8)));
    const u64 offset = entry & kOffsetMask;
    switch (entry & kStateMask) {
      case kNotPresent: return Place{};
      case kUndefined:
      case kZero:
      case kUnmapped: return Place{.kind = Place::Kind::Zero};
      case kFullyPresent:
        if (offset < kHeaderSection || offset > 2 * kMost)
          return fail(Errc::Corrupt, "Block {} lies at {}", index, offset);
        return Place{.kind = Place::Kind::At, .offset = offset};
      default: return fail(Errc::Corrupt, "Block {} is in state {}", index, entry & kStateMask);
    }
  }
  Result<void> record(u64 index, const Place& place) override {
    u64 entry = kNotPresent;
    if (place.kind == Place::Kind::Zero) entry = kZero;
    if (place.kind == Place::Kind::At) entry = place.offset | kFullyPresent;
    std::array<std::byte, 8> bytes;
    store_le<u64>(bytes, 0, entry);
    return tables_.store(entry_at(index), bytes);
  }
  Result<void> mark_in_use() override {
    headers_.now.log = new_guid();
    headers_.now.file_write = new_guid();
    headers_.now.data_write = new_guid();
    return headers_.write(*file());
  }
  Result<void> mark_closed() override {
    headers_.now.log = {};
    return headers_.write(*file());
  }

  // Whole pages go through the log first.
  Result<void> write_pieces(const std::vector<TablePages::Piece>& tables,
                            const std::vector<TablePages::Piece>&) override {
    Pages pages;
    for (const TablePages::Piece& piece : tables) {
      for (u64 done = 0; done < piece.bytes.size();) {
        const u64 at = piece.offset + done;
        std::vector<std::byte>& page = pages[at / kPage * kPage];
        if (page.empty()) {
          page.resize(kPage);
          TRY(file()->read_or_zero(at / kPage * kPage, page));
        }
        const u64 here = std::min(piece.bytes.size() - done, kPage - at % kPage);
        std::memcpy(page.data() + at % kPage, piece.bytes.data() + done, here);
        done += here;
      }
    }
    const u64 most = log_capacity(headers_.now);
    while (!pages.empty()) {
      Pages some;
      while (!pages.empty() && some.size() < most) some.insert(pages.extract(pages.begin()));
      TRY(write_log(*file(), headers_.now, sequence_++, some));
      for (const auto& [offset, page] : some) TRY(file()->write(offset, page));
      TRY(file()->flush());
    }
    return {};
  }

  // Configuration
  const DiskLayout layout_;
  // State
  Headers headers_;
  u64 sequence_ = 1;  // of the next log entry
  bool replayed_ = false;
};

int probe(ConstBytes head, std::string_view) {
  return head.size() >= kFileType.size() &&
                 std::ranges::equal(head.first(kFileType.size()), bytes_of(kFileType))
             ? 100
             : 0;
}

}  // namespace

}  // namespace menura::vhdx

namespace menura {

const Driver kVhdxDriver{.name = "vhdx",
                         .help = "Hyper-V's disk image",
                         .kind = DriverKind::Format,
                         .probe = vhdx::probe,
                         .open = vhdx::VhdxImage::open,
                         .create = vhdx::create,
                         .create_options = properties_of<vhdx::CreateOptions>};

}  // namespace menura
