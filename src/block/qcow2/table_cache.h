// TableCache: pieces (slices) of an image's metadata tables, read when needed, written when told.
// It knows nothing of order: Qcow2Image::commit() decides when which dirty slice is written.
//
// Owner: Qcow2Image. Threads: under its metadata lock. Slices stay in place while in the cache; at
// most `limit` of them stay, beyond those that are dirty or being written.
// Example: `Slice* s = TRY(cache.get(l2_table + index * 8));  store_be<u64>(s->bytes, ...);`
#pragma once

#include <list>
#include <memory>
#include <unordered_map>
#include <vector>

#include "block/core/node.h"

namespace menura::qcow2 {

struct Slice {
  u64 offset = 0;  // in the file
  std::vector<std::byte> bytes;
  bool dirty = false;
  bool writing = false;  // commit() has a copy that is not in the file yet
};

class TableCache {
 public:
  // `load_point`: what reading a slice is called (Image::reached).
  TableCache(const Child& file, u32 slice_size, size_t limit, std::string_view load_point)
      : file_(file), slice_size_(slice_size), limit_(limit), load_point_(load_point) {}

  u32 slice_size() const { return slice_size_; }
  // The slice that holds this byte; read from the file unless it is here.
  Result<Slice*> get(u64 offset);
  // Only if it is here.
  Slice* peek(u64 offset);
  void mark_dirty(Slice& slice);
  // A table that is in the file (or reads as zeroes there) and must not be believed: forget it.
  void forget(u64 offset, u64 length);
  size_t dirty_count() const { return dirty_.size(); }
  bool is_full() const { return dirty_.size() >= limit_; }
  // The dirty slices, by offset: clean from here on, and "writing" until done() is called.
  std::vector<Slice*> take_dirty();
  void done(const std::vector<Slice*>& slices);
  // They are dirty again: writing failed.
  void failed(const std::vector<Slice*>& slices);
  // Everything clean goes.
  void clear();

 private:
  using Order = std::list<std::unique_ptr<Slice>>;
  void evict();

  const Child& file_;
  const u32 slice_size_;
  const size_t limit_;
  const std::string_view load_point_;
  Order order_;  // the most recently used first
  std::unordered_map<u64, Order::iterator> index_;
  std::vector<Slice*> dirty_;
};

}  // namespace menura::qcow2
