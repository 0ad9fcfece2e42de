#include "block/dmg/dmg_image.h"

#include <algorithm>
#include <cstring>
#include <mutex>

#include "block/core/deflate.h"
#include "block/core/graph.h"
#include "block/dmg/chunks.h"

namespace menura::dmg {

namespace {

class DmgImage final : public Image {
 public:
  static Result<std::unique_ptr<Image>> open(OpenContext& context) {
    ChildLink* link = TRY(context.child("file", ChildRole::Image));
    if (!context.read_only())
      TRY(context.fall_back_to_read_only(
          fail(Errc::Permission, "DMG images are only read here: say read-only=on")));
    std::vector<Chunk> chunks = TRY(read_chunks(*link->child));
    return std::unique_ptr<Image>(new DmgImage(std::move(chunks), link->child));
  }

  u64 size() const override { return chunks_.empty() ? 0 : chunks_.back().end; }

  Result<Extent> map(u64 offset, u64 length) override {
    const auto [chunk, end] = at(offset);
    Extent extent{.kind = ExtentKind::Zero, .length = std::min(length, end - offset)};
    if (!chunk || chunk->kind == Chunk::Kind::Zero) return extent;
    extent.kind = ExtentKind::Opaque;
    if (chunk->kind == Chunk::Kind::Raw) {
      extent.kind = ExtentKind::Data;
      extent.at = &(*file_)->image(), extent.offset = chunk->offset + offset - chunk->begin;
    } else {
      extent.compressed = true;
    }
    return extent;
  }

  Result<void> read(u64 offset, Bytes to) override {
    while (!to.empty()) {
      const auto [chunk, end] = at(offset);
      const Bytes part = to.first(static_cast<size_t>(std::min<u64>(to.size(), end - offset)));
      if (!chunk || chunk->kind == Chunk::Kind::Zero)
        std::memset(part.data(), 0, part.size());
      else if (chunk->kind == Chunk::Kind::Raw)
        TRY((*file_)->read(chunk->offset + offset - chunk->begin, part));
      else
        TRY(read_packed(*chunk, offset - chunk->begin, part));
      to = to.subspan(part.size());
      offset += part.size();
    }
    return {};
  }

  std::optional<u64> allocated_size() override { return (*file_)->image().allocated_size(); }
  ImageInfo info() override {
    ImageInfo info;
    info.dirty.reset();
    return info;
  }

 private:
  DmgImage(std::vector<Chunk> chunks, const Child& file)
      : chunks_(std::move(chunks)), file_(&file) {}

  // The chunk that has this byte, or none, and where that answer ends.
  std::pair<const Chunk*, u64> at(u64 offset) const {
    const auto found = std::ranges::upper_bound(chunks_, offset, {}, &Chunk::end);
    if (found == chunks_.end()) return {nullptr, ~u64{0}};
    if (found->begin > offset) return {nullptr, found->begin};
    return {&*found, found->end};
  }

  // One chunk is kept: readers go through it piece by piece.
  Result<void> read_packed(const Chunk& chunk, u64 within, Bytes to) {
    const std::lock_guard guard(mutex_);
    if (kept_ != &chunk) {
      kept_ = nullptr;
      std::vector<std::byte> packed(static_cast<size_t>(chunk.length));
      TRY((*file_)->read(chunk.offset, packed));
      content_.resize(static_cast<size_t>(chunk.end - chunk.begin));
      TRY(inflate_block(packed, content_, kZlib15));
      kept_ = &chunk;
    }
    std::memcpy(to.data(), content_.data() + within, to.size());
    return {};
  }

  // Configuration
  const std::vector<Chunk> chunks_;
  // Wiring
  const Child* file_;
  // State
  std::mutex mutex_;
  const Chunk* kept_ = nullptr;
  std::vector<std::byte> content_;
};

// What tells such an image stands at its end.
int probe(ConstBytes, std::string_view filename) { return filename.ends_with(".dmg") ? 2 : 0; }

}  // namespace

}  // namespace menura::dmg

namespace menura {

const Driver kDmgDriver{.name = "dmg",
                        .help = "Apple's disk image, read-only",
                        .kind = DriverKind::Format,
                        .probe = dmg::probe,
                        .open = dmg::DmgImage::open};

}  // namespace menura
