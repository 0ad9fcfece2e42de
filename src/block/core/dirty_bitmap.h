// DirtyBitmap: which granules of a disk have changed; RangeLocks: who is changing which of them.
//
// Owner: bitmaps of nodes, jobs. Threads: any, locked inside. Offsets are bytes; a set bit stands
// for a granule that was touched anywhere. Example:
//   DirtyBitmap dirty(node.size(), 64 * KiB);  dirty.set(at, length);
//   while (auto range = dirty.take(0, 1 * MiB)) copy(*range);
#pragma once

#include <condition_variable>
#include <mutex>
#include <optional>
#include <vector>

#include "base/types.h"
#include "block/core/stores.h"

namespace menura {

class DirtyBitmap {
 public:
  struct Range {
    u64 offset, length;
  };
  // granularity: a power of two.
  DirtyBitmap(u64 size, u64 granularity);

  u64 granularity() const { return granularity_; }
  u64 size() const;
  void set(u64 offset, u64 length);
  void set_all() { set(0, size()); }
  void clear_all();
  // Of whole granules; those at the borders too.
  void clear(u64 offset, u64 length);
  bool test(u64 offset) const;
  u64 dirty_bytes() const;
  // The first dirty granules that lie together, at or after `from`, at most `most` bytes of them.
  std::optional<Range> next(u64 from, u64 most) const;
  // The same, and they are clean from here on.
  std::optional<Range> take(u64 from, u64 most);
  // New granules are clean.
  void resize(u64 size);
  BitmapContent content() const;
  // Whatever is set there, with granules of any size, is set here, too.
  void merge(const BitmapContent& content, u64 granularity);

 private:
  std::optional<Range> find(u64 from, u64 most) const;
  void put(u64 first, u64 last, bool value);

  const u64 granularity_;
  mutable std::mutex mutex_;
  u64 size_;
  u64 count_ = 0;  // granules
  std::vector<u64> words_;
};

// Ranges in exclusive use. Whoever waits here holds none.
class RangeLocks {
 public:
  void acquire(u64 begin, u64 end);
  void release(u64 begin, u64 end);

 private:
  struct Range {
    u64 begin, end;
  };
  std::mutex mutex_;
  std::condition_variable released_;
  std::vector<Range> ranges_;
};

}  // namespace menura
