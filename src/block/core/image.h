// Image: one open disk image (or protocol, or filter) as its driver sees it: straight-line blocking
// code. Everybody but a driver goes through Node (block/core/node.h), which checks ranges,
// permissions and the options that every node has.
//
// Owner: its Node. Threads: every method on any thread, many at once, blocking; exceptions are said.
// Offsets and sizes are bytes; ranges lie inside size() and are not empty: Node sees to that.
// Example: `Result<void> Mine::read(u64 at, Bytes to) { return file_->read(table_[at / kBlock], to); }`
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "base/types.h"
#include "block/core/permissions.h"
#include "state/value.h"

namespace menura {

class BitmapStore;
class Breakpoints;
class Image;
class SnapshotStore;
class Throttle;

enum class ExtentKind : u8 {
  Data,    // plain bytes at `offset` of `at`
  Zero,    // reads as zeroes, whatever lies below; has space at `offset` of `at` if that is set
  Hole,    // not in this image: the backing image answers, or zeroes where there is none; may have
           // space at `offset` of `at` all the same
  Opaque,  // in this image, but only read() knows the bytes: compressed, encrypted, remote
};

struct Extent {
  ExtentKind kind = ExtentKind::Opaque;
  u64 length = 0;       // at least 1, at most what was asked for
  Image* at = nullptr;  // whose bytes these are: this image or a child's
  u64 offset = 0;       // in `at`
  bool compressed = false;
};

// The answer of the fast path: bytes that io_uring may move without the driver. Pinned by whoever
// asked: the graph does not change, and nothing frees or moves the range, until they are moved.
struct Direct {
  enum class Kind : u8 { File, Zero };
  Kind kind = Kind::File;
  int fd = -1;
  u64 offset = 0;
  u64 length = 0;         // at least 1
  bool writable = false;  // an overwrite in place needs no driver either
  u32 alignment = 1;      // of offset, length and buffer (O_DIRECT)
};

// How a write, a zeroing or a discard is meant.
struct WriteMode {
  bool fua = false;          // durable when done
  bool may_unmap = false;    // zero(): the range may lose its space
  bool no_fallback = false;  // zero(): Errc::Unsupported rather than writing zeroes slowly
};

enum class Preallocation : u8 { Off, Metadata, Falloc, Full };
std::span<const std::string_view> enum_names(Preallocation);

// What `info` tells beyond the size.
struct ImageInfo {
  u64 cluster_size = 0;  // 0: has none
  std::optional<u64> vm_state_offset;
  std::optional<bool> dirty = false;  // none: the format does not say
  bool corrupt = false;
  bool encrypted = false;
  bool compressed = false;     // every cluster is (streamOptimized)
  std::string backing_file;    // as the header spells it
  std::string backing_format;  // the same
  std::optional<std::string> data_file;
  Value specific;  // query-block's format-specific: {"type": ..., "data": {...}}; null: none
};

enum class Repair : u8 { None, Leaks, All };

// `check`: the counts of QEMU's ImageCheck, and one line of text for each finding.
struct CheckReport {
  u64 corruptions = 0, leaks = 0, check_errors = 0;
  u64 corruptions_fixed = 0, leaks_fixed = 0;
  u64 total_clusters = 0, allocated_clusters = 0, fragmented_clusters = 0, compressed_clusters = 0;
  u64 image_end_offset = 0;
  std::vector<std::string> findings;  // at most kFindings
  static constexpr size_t kFindings = 10'000;
  void note(std::string finding) {
    if (findings.size() < kFindings) findings.push_back(std::move(finding));
  }
};

class Image {
 public:
  virtual ~Image() = default;

  // Constant, but for truncate().
  virtual u64 size() const = 0;

  // What lies at offset, as far as it is of one kind. May read metadata.
  virtual Result<Extent> map(u64 offset, u64 length) = 0;
  // The fast path: never blocks, under any lock; none: read() and write() must be asked.
  virtual std::optional<Direct> peek(u64 /*offset*/, u64 /*length*/) { return {}; }

  virtual Result<void> read(u64 offset, Bytes to) = 0;
  virtual Result<void> write(u64 offset, ConstBytes from, WriteMode mode);
  // Afterwards the range reads as zeroes. Errc::Unsupported: Node writes zeroes instead.
  virtual Result<void> zero(u64 offset, u64 length, WriteMode mode);
  // A hint: the range may read as anything it held, or as zeroes.
  virtual Result<void> discard(u64 offset, u64 length);
  // What was written before is durable.
  virtual Result<void> flush() { return {}; }
  // New bytes read as zeroes.
  virtual Result<void> truncate(u64 size, Preallocation preallocation);
  // Compresses; offset and length are of whole clusters (the last may be cut by the size).
  virtual Result<void> write_compressed(u64 offset, ConstBytes from);

  virtual bool supports_fua() const { return false; }  // else Node flushes after such a write
  // Writes beyond size() make it larger (files): formats append to them.
  virtual bool grows() const { return false; }
  // Fresh from create(), it reads as zeroes everywhere.
  virtual bool has_zero_init() const { return false; }

  virtual ImageInfo info() { return {}; }
  // The bytes that the image takes on the host; none: unknown.
  virtual std::optional<u64> allocated_size() { return {}; }
  // How a user would name it; empty: the first child's name.
  virtual std::string filename() const { return {}; }

  // Each default is Errc::Unsupported, or null.
  virtual Result<CheckReport> check(Repair repair);
  // `progress` hears how much of the whole work is done.
  using Progress = std::function<void(u64 done, u64 total)>;
  virtual Result<void> amend(const Value& options, const Progress& progress);
  virtual Result<void> change_backing(const std::string& file, const std::string& format);
  // Drops all content, so that the backing image shows (commit).
  virtual Result<void> make_empty();
  virtual SnapshotStore* snapshots() { return nullptr; }
  virtual BitmapStore* bitmaps() { return nullptr; }
  // The machine's state beside the disk's content (savevm); offsets count from 0.
  virtual Result<void> read_vm_state(u64 offset, Bytes to);
  virtual Result<void> write_vm_state(u64 offset, ConstBytes from);

  // A parent's driver has come to a point of its work ("l2_load"): for filters that test it.
  virtual void reached(std::string_view /*point*/) {}
  virtual Breakpoints* breakpoints() { return nullptr; }
  // Whose limits hold for what passes here; null: nobody's.
  virtual Throttle* throttle() { return nullptr; }

  // What the users of this node do now and allow others: protocols lock their files by it. Called
  // while nothing is in flight.
  virtual Result<void> set_permissions(Permissions /*now*/) { return {}; }
  // Read-only to read-write or back, with the node's new options. Nothing is in flight.
  virtual Result<void> reopen(bool read_only);
  // Before the end of its life: writes back what is only in memory. Nothing is in flight.
  virtual Result<void> close() { return {}; }
};

}  // namespace menura
