#include "jit/run/code_cache.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "base/bits.h"
#include "base/check.h"
#include "base/units.h"

namespace menura::jit {

namespace {

// Large enough for the largest block, small enough that vCPUs with little to say waste little.
constexpr size_t kLargestPiece = 64 * KiB;
constexpr size_t kPiecesPerSegment = 4;

}  // namespace

Result<std::unique_ptr<CodeCache>> CodeCache::create(const Layout& layout) {
  const size_t size = align_up<size_t>(layout.size, 4096);
  if (layout.segments == 0 || size < layout.kept + layout.segments * kPiecesPerSegment * 4096)
    return fail(Errc::InvalidArgument, "A code cache of {} bytes is too small for {} segments",
                size, layout.segments);
  UniqueFd fd(memfd_create("menura-jit-code", MFD_CLOEXEC));
  if (!fd) return fail_errno(errno, "Creating the JIT's code memory");
  if (ftruncate(fd.get(), static_cast<off_t>(size)) < 0)
    return fail_errno(errno, "Sizing the JIT's code memory to {} bytes", size);
  void* w = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd.get(), 0);
  if (w == MAP_FAILED) return fail_errno(errno, "Mapping {} bytes of code memory to write", size);
  void* x = mmap(nullptr, size, PROT_READ | PROT_EXEC, MAP_SHARED, fd.get(), 0);
  if (x == MAP_FAILED) {
    const int why = errno;
    munmap(w, size);
    return fail_errno(why, "Mapping {} bytes of code memory to execute", size);
  }
  return std::unique_ptr<CodeCache>(
      new CodeCache(std::move(fd), static_cast<u8*>(w), static_cast<u8*>(x),
                    {.size = size, .segments = layout.segments, .kept = layout.kept}));
}

CodeCache::CodeCache(UniqueFd fd, u8* writable, u8* executable, const Layout& layout)
    : fd_(std::move(fd)), writable_(writable), executable_(executable), size_(layout.size) {
  const size_t kept = align_up<size_t>(layout.kept, 4096);
  const size_t each = align_down<size_t>((size_ - kept) / layout.segments, 4096);
  for (size_t i = 0; i < layout.segments; i++) {
    u8* begin = writable_ + kept + i * each;
    segments_.push_back({.begin = begin, .end = begin + each, .next = begin});
  }
  piece_ = std::min(kLargestPiece, align_down<size_t>(each / kPiecesPerSegment, 64));
  filling_ = segments_.data();
}

CodeCache::~CodeCache() {
  munmap(writable_, size_);
  munmap(executable_, size_);
}

void CodeCache::Piece::commit(size_t bytes) {
  ensure(bytes <= room(), "code written beyond its piece");
  at += std::min(room(), align_up<size_t>(bytes, 16));
}

std::optional<CodeCache::Piece> CodeCache::claim() {
  Segment& s = *filling_;
  if (static_cast<size_t>(s.end - s.next) < piece_) return std::nullopt;
  const Piece piece{s.next, s.next + piece_, static_cast<size_t>(&s - segments_.data()), s.serial};
  s.next += piece_;
  use(piece.at);
  return piece;
}

void CodeCache::fill(Segment& segment) {
  segment.next = segment.begin;
  filling_ = &segment;
}

CodeCache::Segment& CodeCache::coldest() {
  Segment* coldest = nullptr;
  for (Segment& s : segments_)
    if (&s != filling_ && (!coldest || s.last_use < coldest->last_use)) coldest = &s;
  ensure(coldest != nullptr, "a code cache has more than one segment");
  return *coldest;
}

CodeCache::Segment* CodeCache::segment_of(const u8* writable) {
  const u8* first = segments_.front().begin;
  const size_t each = static_cast<size_t>(segments_.front().end - first);
  if (writable < first) return nullptr;
  const size_t index = static_cast<size_t>(writable - first) / each;
  return index < segments_.size() ? &segments_[index] : nullptr;
}

void CodeCache::use(const u8* writable) {
  if (Segment* s = segment_of(writable)) s->last_use = ++uses_;
}

}  // namespace menura::jit
