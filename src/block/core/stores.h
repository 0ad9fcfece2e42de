// SnapshotStore and BitmapStore: what formats keep beside the present content: internal snapshots,
// and bitmaps of what was written since a point. Breakpoints: where a test stops a driver's work.
//
// Owner: the Image that returns them. Threads: nothing else is in flight (Graph::Change, or a tool).
// Example: `SnapshotStore* s = node->image().snapshots(); if (s) TRY(s->create({.name = "before"}));`
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "base/types.h"

namespace menura {

struct SnapshotInfo {
  std::string id;
  std::string name;
  u64 vm_state_size = 0;
  i64 date_seconds = 0;  // since 1970
  u32 date_nanoseconds = 0;
  u64 vm_clock_ns = 0;
  std::optional<u64> icount;
  u64 disk_size = 0;
};

class SnapshotStore {
 public:
  virtual ~SnapshotStore() = default;
  virtual std::vector<SnapshotInfo> list() const = 0;
  // Of the present content; id and disk_size are filled in here. A used name is allowed.
  virtual Result<void> create(SnapshotInfo snapshot) = 0;
  // By id, else by name.
  virtual Result<void> apply(std::string_view snapshot) = 0;
  virtual Result<void> remove(std::string_view snapshot) = 0;
  // The image shows the snapshot's content from now on, and cannot be written (-l).
  virtual Result<void> show(std::string_view snapshot) = 0;
};

struct BitmapInfo {
  std::string name;
  u64 granularity = 65536;  // bytes, a power of two
  bool enabled = true;      // records writes
  bool in_use = false;      // not written back by its last user: its content is not to be trusted
};

// One bit for each granule, a set one: written to.
struct BitmapContent {
  std::vector<u64> words;
};

class BitmapStore {
 public:
  virtual ~BitmapStore() = default;
  virtual std::vector<BitmapInfo> list() const = 0;
  virtual Result<void> add(BitmapInfo bitmap) = 0;
  virtual Result<void> remove(std::string_view name) = 0;
  virtual Result<void> set_enabled(std::string_view name, bool enabled) = 0;
  virtual Result<BitmapContent> load(std::string_view name) = 0;
  virtual Result<void> store(std::string_view name, const BitmapContent& content) = 0;
  // Of an enabled bitmap: it goes on from this content, which reaches the file when the image is
  // closed; until then the file says that the bitmap is not to be trusted.
  virtual Result<void> continue_from(std::string_view name, const BitmapContent& content) = 0;
};

// Threads: any. A tag names the stopping point and whoever is stopped by it.
class Breakpoints {
 public:
  virtual ~Breakpoints() = default;
  // Whoever reaches this point next stops there.
  virtual Result<void> set(std::string_view point, std::string_view tag) = 0;
  virtual Result<void> remove(std::string_view tag) = 0;
  virtual Result<void> resume(std::string_view tag) = 0;
  virtual bool is_stopped(std::string_view tag) const = 0;
};

}  // namespace menura
