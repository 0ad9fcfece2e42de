// CodeCache: memory for host code, mapped twice so that no page is writable and executable at once;
// a part that stays, and segments that are filled in pieces and emptied one at a time.
//
// Owner: Translations, under its lock; address arithmetic is anybody's. Example:
//   auto cache = TRY(CodeCache::create({.size = 32 * MiB, .segments = 16, .kept = 64 * KiB}));
//   CodeCache::Piece p = cache->claim(); write(p.at); run(cache->executable(p.at));
#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "base/fd.h"
#include "base/result.h"
#include "base/types.h"

namespace menura::jit {

class CodeCache {
 public:
  struct Layout {
    size_t size = 0;      // bytes of all
    size_t segments = 1;  // that the rest is divided into
    size_t kept = 0;      // bytes at the front that are never emptied
  };
  static Result<std::unique_ptr<CodeCache>> create(const Layout& layout);
  ~CodeCache();
  CodeCache(const CodeCache&) = delete;
  CodeCache& operator=(const CodeCache&) = delete;

  // Memory that one thread fills by itself.
  struct Piece {
    u8* at = nullptr;
    u8* end = nullptr;
    size_t segment = 0;
    u64 serial = 0;  // of the segment, when the piece was claimed
    size_t room() const { return static_cast<size_t>(end - at); }
    // Uses up `bytes`; what follows is aligned to 16.
    void commit(size_t bytes);
  };
  struct Segment {
    u8* begin;
    u8* end;
    u8* next;          // bytes before it are given away
    u64 last_use = 0;  // in the order of use()
    u64 serial = 0;    // counts how often it was emptied
    size_t used() const { return static_cast<size_t>(next - begin); }
  };

  u8* kept() { return writable_; }
  // A piece of the segment being filled; none when that is full.
  std::optional<Piece> claim();
  // Whether the piece's segment has not been emptied since.
  bool holds(const Piece& piece) const { return segments_[piece.segment].serial == piece.serial; }
  // Goes on in another segment, which nobody uses any more.
  void fill(Segment& segment);
  void fill(size_t index) { fill(segments_[index]); }
  // The full segment that was used the longest time ago, not the one being filled.
  Segment& coldest();
  // Code at this address was used.
  void use(const u8* writable);
  const std::vector<Segment>& segments() const { return segments_; }
  size_t size() const { return size_; }

  const u8* executable(const u8* writable) const { return executable_ + (writable - writable_); }
  u8* writable(const u8* executable) const { return writable_ + (executable - executable_); }
  u64 offset(const u8* writable) const { return static_cast<u64>(writable - writable_); }
  u8* at_offset(u64 offset) const { return writable_ + offset; }
  bool contains(const void* executable) const {
    return executable >= executable_ && executable < executable_ + size_;
  }

 private:
  Segment* segment_of(const u8* writable);
  CodeCache(UniqueFd fd, u8* writable, u8* executable, const Layout& layout);

  UniqueFd fd_;
  u8* writable_;
  u8* executable_;
  size_t size_;
  size_t piece_;
  std::vector<Segment> segments_;
  Segment* filling_;
  u64 uses_ = 0;
};

}  // namespace menura::jit
